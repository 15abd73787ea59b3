//! Compiles `cuda/*.cu` when the feature `cuda` is on; does nothing otherwise.
//!
//! Every file becomes one fatbin (a name and its bytes in the generated `modules.rs`): machine code
//! for `sm_90`, and PTX of `compute_80` for other GPUs from Ampere on. A file named `*_sm90a.cu` needs
//! Hopper's own instructions and becomes `sm_90a` machine code alone. Nothing of the toolkit is
//! linked: the driver loads the fatbins.
//!
//! With the feature `candle-cuda` it also sees to what candle's bindings are linked against: empty libraries in the
//! place of the driver's and the others' (`src/cuda/linked.rs` has their functions), and CUDA's runtime, whole.
//!
//! nvcc is taken from `NVCC`, else from `CUDA_HOME/bin`. A file is compiled again only when it, a
//! header or the command line changed. Register spills are reported as warnings.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

/// What every file is compiled with.
const COMMON_FLAGS: [&str; 5] = ["-fatbin", "-O3", "-std=c++17", "-Xptxas=-v", "-Werror=all-warnings"];
/// Code for an ordinary file.
const ORDINARY_TARGETS: [&str; 2] =
    ["-gencode=arch=compute_90,code=sm_90", "-gencode=arch=compute_80,code=compute_80"];
/// Code for a file that uses Hopper's own instructions.
const HOPPER_TARGETS: [&str; 1] = ["-gencode=arch=compute_90a,code=sm_90a"];

/// A library without functions.
const EMPTY_ARCHIVE: &str = "!<arch>\n";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if let Err(error) = compile_all().and_then(|()| provide_libraries()) {
        println!("cargo::error={}", error.to_string().replace('\n', " "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Compiles every source and writes the table of modules.
fn compile_all() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let (sources, headers) = list_sources(Path::new("cuda"))?;
    if sources.is_empty() {
        return Err("no .cu file in kernels/cuda; the feature `cuda` needs the kernels".into());
    }
    let compiler = find_compiler()?;
    let newest_header = newest(&headers)?;
    let mut pending = Vec::new();
    for source in &sources {
        let job = Job::new(source, &out_dir, &compiler)?;
        if !job.is_fresh(newest_header)? {
            pending.push(job);
        }
    }
    run_jobs(pending)?;
    write_table(&sources, &out_dir)
}

/// Makes what candle's bindings are linked against, and tells the linker where that is.
fn provide_libraries() -> Result<(), Box<dyn Error>> {
    if std::env::var_os("CARGO_FEATURE_CANDLE_CUDA").is_none() {
        return Ok(());
    }
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let folder = out_dir.join("linked");
    fs::create_dir_all(&folder)?;
    for library in ["cuda", "cublas", "cublasLt", "curand", "nvrtc", "cudart"] {
        fs::write(folder.join(format!("lib{library}.a")), EMPTY_ARCHIVE)?;
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-search=native={}", find_runtime(&find_compiler()?)?.display());
    // All of it, so that the linker finds every function defined and leaves a shared runtime that it comes across alone.
    println!("cargo::rustc-link-lib=static:+whole-archive=cudart_static");
    Ok(())
}

/// The folder of CUDA's runtime as a static library, beside the compiler's.
fn find_runtime(compiler: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let compiler = compiler.canonicalize().map_err(|error| format!("{}: {error}", compiler.display()))?;
    let mut homes: Vec<PathBuf> = compiler.ancestors().skip(2).take(1).map(Path::to_path_buf).collect();
    homes.extend(std::env::var_os("CUDA_HOME").map(PathBuf::from));
    let folders = homes
        .iter()
        .flat_map(|home| ["lib64", "lib", "targets/x86_64-linux/lib"].map(|folder| home.join(folder)));
    let found = folders.into_iter().find(|folder| folder.join("libcudart_static.a").is_file());
    found.ok_or_else(|| {
        format!(
            "the feature `candle-cuda` needs libcudart_static.a, which is not beside {}; set CUDA_HOME to a whole \
             toolkit, or run `export CUDA_HOME=$(scripts/cuda-toolkit.sh)` first",
            compiler.display()
        )
        .into()
    })
}

/// The `.cu` files and the headers of a folder, sorted; its subfolders hold the emulator.
fn list_sources(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Box<dyn Error>> {
    let (mut sources, mut headers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|error| format!("cannot read kernels/cuda: {error}"))? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("cu") => sources.push(path),
            Some("cuh" | "h") => headers.push(path),
            _ => {}
        }
    }
    sources.sort();
    Ok((sources, headers))
}

/// nvcc by `NVCC`, else by `CUDA_HOME`.
fn find_compiler() -> Result<PathBuf, Box<dyn Error>> {
    let candidate = match (std::env::var_os("NVCC"), std::env::var_os("CUDA_HOME")) {
        (Some(nvcc), _) => PathBuf::from(nvcc),
        (None, Some(home)) => Path::new(&home).join("bin/nvcc"),
        (None, None) => {
            return Err("the feature `cuda` needs nvcc 13.0: set CUDA_HOME or NVCC, or run \
                        `export CUDA_HOME=$(scripts/cuda-toolkit.sh)` first"
                .into());
        }
    };
    let version = Command::new(&candidate).arg("--version").output().map_err(|error| {
        format!(
            "cannot run nvcc at {}: {error}; set NVCC or CUDA_HOME, or run \
             `export CUDA_HOME=$(scripts/cuda-toolkit.sh)` first",
            candidate.display()
        )
    })?;
    let text = String::from_utf8_lossy(&version.stdout);
    if !text.contains("release 13.0") {
        return Err(format!(
            "nvcc at {} is not release 13.0, and PTX of a newer one does not load on driver 580; \
             `export CUDA_HOME=$(scripts/cuda-toolkit.sh)` installs the right one",
            candidate.display()
        )
        .into());
    }
    Ok(candidate)
}

/// One file to be compiled.
struct Job {
    source: PathBuf,
    fatbin: PathBuf,
    report: PathBuf,
    command_file: PathBuf,
    compiler: PathBuf,
    arguments: Vec<OsString>,
}

impl Job {
    fn new(source: &Path, out_dir: &Path, compiler: &Path) -> Result<Self, Box<dyn Error>> {
        let stem = stem(source)?;
        let fatbin = out_dir.join(format!("{stem}.fatbin"));
        let mut arguments: Vec<OsString> = COMMON_FLAGS.iter().map(OsString::from).collect();
        let targets: &[&str] = if stem.ends_with("_sm90a") { &HOPPER_TARGETS } else { &ORDINARY_TARGETS };
        arguments.extend(targets.iter().map(OsString::from));
        arguments.extend([OsString::from("-o"), fatbin.clone().into(), source.into()]);
        Ok(Self {
            source: source.to_path_buf(),
            report: fatbin.with_extension("ptxas"),
            command_file: fatbin.with_extension("command"),
            fatbin,
            compiler: compiler.to_path_buf(),
            arguments,
        })
    }

    /// The command as text, to notice that it changed.
    fn command_line(&self) -> String {
        format!("{} {:?}", self.compiler.display(), self.arguments)
    }

    /// Whether the fatbin is newer than everything it is made of.
    fn is_fresh(&self, newest_header: SystemTime) -> Result<bool, Box<dyn Error>> {
        let Ok(made) = fs::metadata(&self.fatbin).and_then(|meta| meta.modified()) else {
            return Ok(false);
        };
        let same_command =
            fs::read_to_string(&self.command_file).is_ok_and(|command| command == self.command_line());
        let edited = fs::metadata(&self.source)?.modified()?;
        Ok(same_command && made > edited && made > newest_header)
    }

    /// Runs nvcc, keeps its report, and warns of spills.
    fn run(&self) -> Result<Vec<String>, String> {
        let output = Command::new(&self.compiler)
            .args(&self.arguments)
            .output()
            .map_err(|error| format!("cannot run {}: {error}", self.compiler.display()))?;
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            // A half-written fatbin would look fresh to the next build.
            drop(fs::remove_file(&self.fatbin));
            return Err(format!("nvcc failed on {}: {report}", self.source.display()));
        }
        fs::write(&self.report, &report).map_err(|error| error.to_string())?;
        fs::write(&self.command_file, self.command_line()).map_err(|error| error.to_string())?;
        Ok(spills(&report))
    }
}

/// Compiles on as many threads as cargo allows.
fn run_jobs(jobs: Vec<Job>) -> Result<(), Box<dyn Error>> {
    let num_threads: usize = std::env::var_os("NUM_JOBS")
        .and_then(|value| value.to_str().and_then(|text| text.parse().ok()))
        .unwrap_or(1);
    let queue = std::sync::Mutex::new(jobs);
    let results = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..num_threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().map(|mut jobs| jobs.pop());
                    let Ok(Some(job)) = next else { return };
                    let result = job.run();
                    if let Ok(mut all) = results.lock() {
                        all.push((job.source, result));
                    }
                }
            });
        }
    });
    for (source, result) in results.into_inner()? {
        for spill in result? {
            println!("cargo::warning={}: {spill}", source.display());
        }
    }
    Ok(())
}

/// The kernels of a compiler's report that spill registers, with what they spill.
fn spills(report: &str) -> Vec<String> {
    let mut kernel = "";
    let mut found = Vec::new();
    for line in report.lines() {
        if let Some((_, name)) = line.split_once("Compiling entry function '") {
            kernel = name.split('\'').next().unwrap_or(name);
        } else if line.contains("bytes spill stores") && !line.contains(" 0 bytes spill stores") {
            found.push(format!("`{kernel}` spills registers: {}", line.trim()));
        }
    }
    found
}

/// Writes `modules.rs`: an array of names and embedded fatbins.
fn write_table(sources: &[PathBuf], out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut table = String::from("[\n");
    for source in sources {
        let stem = stem(source)?;
        let fatbin = out_dir.join(format!("{stem}.fatbin"));
        writeln!(
            table,
            "    Module {{ name: {stem:?}, image: include_bytes!({:?}) }},",
            fatbin.display().to_string()
        )?;
    }
    table.push(']');
    fs::write(out_dir.join("modules.rs"), table)?;
    Ok(())
}

fn stem(path: &Path) -> Result<String, Box<dyn Error>> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    Ok(stem.ok_or_else(|| format!("{} is not a UTF-8 file name", path.display()))?.to_owned())
}

fn newest(paths: &[PathBuf]) -> Result<SystemTime, Box<dyn Error>> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for path in paths {
        newest = newest.max(fs::metadata(path)?.modified()?);
    }
    Ok(newest)
}
