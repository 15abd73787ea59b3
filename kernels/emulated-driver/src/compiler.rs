//! The system's C++ compiler, run on several sources at once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::error::EmulatorError;

/// What every emulated source is compiled with; how much it is optimised is the caller's.
const FLAGS: [&str; 5] = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"];

/// A C++ compiler of this machine.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: &'static str,
    version: String,
}

/// One source that becomes one object.
#[derive(Debug, Clone)]
pub struct CompileJob {
    /// A C++ file.
    pub source: PathBuf,
    /// Where its object goes.
    pub object: PathBuf,
}

impl Compiler {
    /// The first compiler there is. Says on standard error what is missing where there is none.
    pub fn find() -> Option<Self> {
        for program in ["c++", "g++", "clang++"] {
            if let Ok(output) = Command::new(program).arg("--version").output() {
                let version = String::from_utf8_lossy(&output.stdout).into_owned();
                return Some(Self { program, version });
            }
        }
        eprintln!(
            "SKIPPED: no C++ compiler (c++, g++ or clang++), so no CUDA kernel was checked; install g++"
        );
        None
    }

    /// What the compiler says it is.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles every job, as many at a time as the machine has cores.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Compiler`] of one job that failed.
    pub fn compile(&self, jobs: &[CompileJob], flags: &[&str]) -> Result<(), EmulatorError> {
        let queue = Mutex::new(jobs.iter());
        let failure = Mutex::new(None);
        let num_threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        std::thread::scope(|scope| {
            for _ in 0..num_threads {
                scope.spawn(|| {
                    while let Some(job) = locked(&queue).next() {
                        if let Err(error) = self.compile_one(job, flags) {
                            *locked(&failure) = Some(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn compile_one(&self, job: &CompileJob, flags: &[&str]) -> Result<(), EmulatorError> {
        let mut command = Command::new(self.program);
        command.args(FLAGS).args(flags).arg("-c").arg(&job.source).arg("-o").arg(&job.object);
        run(&mut command).map(drop)
    }

    /// Links objects to a program or, with the right flags, to a library.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Compiler`].
    pub fn link(&self, objects: &[PathBuf], flags: &[&str], target: &Path) -> Result<(), EmulatorError> {
        let mut command = Command::new(self.program);
        run(command.arg("-o").arg(target).args(flags).args(objects)).map(drop)
    }

    /// What the preprocessor makes of a source, whatever its name ends in.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Compiler`].
    pub fn preprocess(&self, source: &Path, flags: &[&str]) -> Result<String, EmulatorError> {
        let mut command = Command::new(self.program);
        run(command.args(FLAGS).args(flags).args(["-E", "-P", "-x", "c++"]).arg(source))
    }
}

/// What a command prints.
fn run(command: &mut Command) -> Result<String, EmulatorError> {
    let output = match command.output() {
        Ok(output) if output.status.success() => {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(EmulatorError::Compiler { command: format!("{command:?}"), output })
}

/// What is behind these locks is changed by single operations, so a panic elsewhere leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
