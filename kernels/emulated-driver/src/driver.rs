//! The library: built when its sources changed, loaded into this process or named to a child.
//!
//! Objects are kept with a digest of all they are made of; a lock file keeps test programs that run at the
//! same time from building at the same time. A library in use is replaced by renaming, never written over.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compiler::{CompileJob, Compiler};
use crate::error::{AtPath, EmulatorError};
use crate::kernel_list::{MARK_KERNELS, registrations};

/// The name programs look for, and the library's own name, by which the loader knows it again.
const LIBRARY: &str = "libcuda.so.1";
/// The name the bindings try first. On a developer's machine it could be another driver's, so there is an
/// empty library of this name that leads to the first.
const ALIAS: &str = "libcuda.so";

/// An optimised library that shows the driver's calls and nothing else.
const FLAGS: [&str; 3] = ["-O2", "-fPIC", "-fvisibility=hidden"];

/// What can be set for a stand-in in a child process; its own process reads them at the first call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The order in which threads and blocks run.
    Seed(u64),
    /// The device's memory.
    MemoryBytes(u64),
    /// The kernel, counted from 1, that faults; after it every call fails.
    FailLaunch(u64),
    /// How many devices there are: 0 or 1.
    NumDevices(u64),
    /// As `cuDriverGetVersion` says it: 13000 is CUDA 13.0.
    DriverVersion(u64),
    /// Ten times major, plus minor.
    ComputeCapability(u64),
}

impl Setting {
    fn variable(self) -> (&'static str, u64) {
        match self {
            Self::Seed(value) => ("SPILLWAY_EMULATOR_SEED", value),
            Self::MemoryBytes(value) => ("SPILLWAY_EMULATOR_MEMORY_BYTES", value),
            Self::FailLaunch(value) => ("SPILLWAY_EMULATOR_FAIL_LAUNCH", value),
            Self::NumDevices(value) => ("SPILLWAY_EMULATOR_NUM_DEVICES", value),
            Self::DriverVersion(value) => ("SPILLWAY_EMULATOR_DRIVER_VERSION", value),
            Self::ComputeCapability(value) => ("SPILLWAY_EMULATOR_COMPUTE_CAPABILITY", value),
        }
    }
}

/// A stand-in that is built and up to date.
#[derive(Debug, Clone)]
pub struct EmulatedDriver {
    folder: PathBuf,
}

impl EmulatedDriver {
    /// Builds the stand-in. `None`, and a line on standard error, where there is no C++ compiler.
    ///
    /// # Errors
    ///
    /// [`EmulatorError::Compiler`], [`EmulatorError::File`].
    pub fn build() -> Result<Option<Self>, EmulatorError> {
        let Some(compiler) = Compiler::find() else { return Ok(None) };
        let folder = build_folder()?;
        fs::create_dir_all(&folder).at_path(&folder)?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).at_path(&lock_path)?;
        lock.lock().at_path(&lock_path)?;
        Build { compiler, cuda: cuda_folder(), folder: folder.clone() }.run()?;
        Ok(Some(Self { folder }))
    }

    /// Builds the stand-in and loads it into this process, where it is then the driver of whoever looks for
    /// one. Do this before the first use of CUDA. `None` as for [`Self::build`].
    ///
    /// # Errors
    ///
    /// As [`Self::build`]; [`EmulatorError::Load`].
    pub fn load() -> Result<Option<Self>, EmulatorError> {
        let Some(driver) = Self::build()? else { return Ok(None) };
        // The loader finds the alias's need by the first one's name, and both later by theirs.
        open_for_good(&driver.folder.join(LIBRARY))?;
        open_for_good(&driver.folder.join(ALIAS))?;
        Ok(Some(driver))
    }

    /// The folder that holds the library, for the loader's search path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command whose process finds this driver.
    pub fn command(&self, program: impl AsRef<OsStr>, settings: &[Setting]) -> Command {
        let mut path = OsString::from(&self.folder);
        if let Some(existing) = std::env::var_os("LD_LIBRARY_PATH") {
            path.push(":");
            path.push(existing);
        }
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", path);
        for setting in settings {
            let (name, value) = setting.variable();
            command.env(name, value.to_string());
        }
        command
    }
}

/// Opens a library and never closes it.
fn open_for_good(path: &Path) -> Result<(), EmulatorError> {
    let refused = |reason: String| EmulatorError::Load { path: path.to_path_buf(), reason };
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| refused(error.to_string()))?;
    // SAFETY: `name` ends with a zero and lives through the call; the library's initialisers only fill
    // its own tables.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: the last call failed on this thread, so there is a message, and it stays until the next
    // call of this thread into the loader.
    let message = unsafe { CStr::from_ptr(libc::dlerror()) };
    Err(refused(message.to_string_lossy().into_owned()))
}

fn cuda_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda")
}

/// Beside the profile's folder that the running test lies in, as cargo's own folder for tests' files does.
fn build_folder() -> Result<PathBuf, EmulatorError> {
    let program = std::env::current_exe().at_path(Path::new("the running program"))?;
    let profile = program.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    let target = profile.and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_path_buf);
    Ok(target.join("tmp").join("emulated_driver"))
}

/// One build under the lock.
struct Build {
    compiler: Compiler,
    cuda: PathBuf,
    folder: PathBuf,
}

impl Build {
    fn run(&self) -> Result<(), EmulatorError> {
        let emulator = self.cuda.join("emu");
        let kernels = files(&self.cuda, "cu")?;
        let mut parts = files(&emulator, "cpp")?;
        parts.retain(|path| {
            let name = file_name(path);
            name.starts_with("driver") || name.starts_with("emulator")
        });
        let mut headers = files(&self.cuda, "cuh")?;
        headers.extend(files(&emulator, "hpp")?);
        let common = self.digest(&headers)?;

        let mut objects = Vec::new();
        let mut stale = Vec::new();
        let mut whole = DefaultHasher::new();
        for source in kernels.iter().chain(&parts) {
            let object = self.folder.join(format!("{}.o", file_name(source)));
            let state = format!("{common:x} {:x}", self.digest(std::slice::from_ref(source))?);
            state.hash(&mut whole);
            if !is_built(&object, &state) {
                stale.push((source, object.clone(), state));
            }
            objects.push(object);
        }
        let library = self.folder.join(LIBRARY);
        let state = format!("{:x}", whole.finish());
        if is_built(&library, &state) {
            return Ok(());
        }
        // An object whose compilation is cut short must not pass for what it was before.
        for (_, object, _) in &stale {
            mark_stale(object)?;
        }
        mark_stale(&library)?;
        self.compile(&stale)?;
        for (_, object, state) in &stale {
            mark_built(object, state)?;
        }
        self.link(&objects)?;
        mark_built(&library, &state)
    }

    fn compile(&self, stale: &[(&PathBuf, PathBuf, String)]) -> Result<(), EmulatorError> {
        let include = format!("-I{}", self.cuda.display());
        let mut jobs = Vec::new();
        for (source, object, _) in stale {
            let mut source = PathBuf::from(source);
            if source.extension().is_some_and(|extension| extension == "cu") {
                let preprocessed = self.compiler.preprocess(&source, &[&include, MARK_KERNELS])?;
                let text = registrations(&file_name(&source), &preprocessed);
                source = object.with_extension("cpp");
                fs::write(&source, text).at_path(&source)?;
            }
            jobs.push(CompileJob { source, object: object.clone() });
        }
        let mut flags = FLAGS.to_vec();
        flags.push(&include);
        self.compiler.compile(&jobs, &flags)
    }

    fn link(&self, objects: &[PathBuf]) -> Result<(), EmulatorError> {
        let fresh = self.folder.join("linked");
        let flags = ["-shared", "-Wl,-soname,libcuda.so.1", "-Wl,-z,nodelete"];
        self.compiler.link(objects, &flags, &fresh)?;
        let library = self.folder.join(LIBRARY);
        fs::rename(&fresh, &library).at_path(&library)?;
        let flags = ["-shared", "-Wl,--no-as-needed", "-Wl,-soname,libcuda.so", "-Wl,-rpath,$ORIGIN"];
        self.compiler.link(&[library], &flags, &fresh)?;
        let alias = self.folder.join(ALIAS);
        fs::rename(&fresh, &alias).at_path(&alias)
    }

    /// Of the files' names and contents, the flags and the compiler.
    fn digest(&self, paths: &[PathBuf]) -> Result<u64, EmulatorError> {
        let mut hasher = DefaultHasher::new();
        (self.compiler.version(), FLAGS, MARK_KERNELS).hash(&mut hasher);
        for path in paths {
            path.hash(&mut hasher);
            fs::read(path).at_path(path)?.hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// The files of a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, EmulatorError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at_path(folder)? {
        let path = entry.at_path(folder)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn state_file(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".state");
    PathBuf::from(name)
}

fn is_built(output: &Path, state: &str) -> bool {
    output.exists() && fs::read_to_string(state_file(output)).is_ok_and(|text| text == state)
}

fn mark_stale(output: &Path) -> Result<(), EmulatorError> {
    mark_built(output, "")
}

fn mark_built(output: &Path, state: &str) -> Result<(), EmulatorError> {
    let path = state_file(output);
    fs::write(&path, state).at_path(&path)
}
