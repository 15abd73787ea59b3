//! Runs every CUDA kernel on the CPU, under the emulator in `kernels/cuda/emu`, against f64 references.
//!
//! The kernels and their tests are C++; this test only builds them with the system's compiler and runs the result. It needs no
//! CUDA toolkit and no GPU. Where there is no C++ compiler it says so on standard error and passes.
//!
//! The second half tests the tests: a fault planted in a kernel's source must be caught.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use spillway_emulated_driver::{CompileJob, Compiler};

/// The sources that every test program needs, and that no kernel's change touches.
const SHARED_SOURCES: [&str; 3] = ["blocks", "check", "emulator"];

/// The tests, one source each.
const TESTS: [&str; 7] = [
    "test_rows",
    "test_linear",
    "test_quantised",
    "test_attention",
    "test_sampling",
    "test_sampling_draw",
    "test_sampling_golden",
];

/// A test program is compiled quickly.
const FLAGS: [&str; 1] = ["-O1"];

#[test]
fn every_kernel_agrees_with_its_reference() {
    let Some(compiler) = Compiler::find() else { return };
    let cuda = cuda_folder();
    let mut objects = compile(&compiler, &cuda, "all", &SHARED_SOURCES);
    objects.extend(compile(&compiler, &cuda, "all", &TESTS));
    let program = link(&compiler, "all", &objects);
    let output = run(Command::new(program));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{complaint}", failed_lines(&text));
}

/// One change to a kernel that a careless edit could make, and the test program that must notice it.
struct Fault {
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
    test: &'static str,
}

const FAULTS: [Fault; 11] = [
    Fault {
        name: "bounds",
        file: "gated_act.cu",
        right: "if (at >= ffn) return;",
        wrong: "",
        test: "test_rows",
    },
    Fault {
        name: "missing_barrier",
        file: "product.cuh",
        right: "    __syncthreads();\n    auto total",
        wrong: "    auto total",
        test: "test_linear",
    },
    Fault {
        name: "missing_wait",
        file: "linear_skinny.cu",
        right: "copy_async_wait<STAGES - 1>();",
        wrong: "copy_async_wait<STAGES>();",
        test: "test_linear",
    },
    Fault {
        name: "lost_upper_bits",
        file: "gguf.cuh",
        right: "| first[group - 4] >> 6 << 4",
        wrong: "",
        test: "test_rows",
    },
    Fault {
        name: "wrong_mask",
        file: "paged_decode.cu",
        right: "bool visible = at < loader.work.end_key && at >= loader.work.first_key;",
        wrong: "bool visible = at >= loader.work.first_key;",
        test: "test_attention",
    },
    Fault {
        name: "column_of_the_next_head",
        file: "paged_decode.cu",
        right: "return EXACT || column < args.head_dim;",
        wrong: "return column < D || args.head_dim == 0;",
        test: "test_attention",
    },
    Fault {
        name: "upper_bits_of_the_next_step",
        file: "quantised.cuh",
        right: "2 * (4 * (step % 2) + r), word",
        wrong: "2 * (4 * ((step + 1) % 2) + r), word",
        test: "test_quantised",
    },
    Fault {
        name: "stage_overwritten",
        file: "tile.cuh",
        right: "u32 ahead = step + STAGES - 1;",
        wrong: "u32 ahead = step + STAGES;",
        test: "test_linear",
    },
    Fault {
        name: "lost_edge",
        file: "sample_finish.cu",
        right: "<= last) sum +=",
        wrong: "< last) sum +=",
        test: "test_sampling_draw",
    },
    Fault {
        name: "racing_sort",
        file: "sample_cut.cuh",
        right: "                __syncthreads();\n                u32 other",
        wrong: "                u32 other",
        test: "test_sampling_draw",
    },
    Fault {
        name: "divergent_barrier",
        file: "argmax.cu",
        right: "    __syncthreads();\n    if (threadIdx.x != 0) return;",
        wrong: "    if (threadIdx.x != 0) return;\n    __syncthreads();",
        test: "test_sampling",
    },
];

#[test]
fn planted_faults_are_caught() {
    let Some(compiler) = Compiler::find() else { return };
    let shared = compile(&compiler, &cuda_folder(), "shared", &SHARED_SOURCES);
    for fault in &FAULTS {
        let folder = scratch(&format!("fault_{}", fault.name));
        copy_sources(&cuda_folder(), &folder);
        let path = folder.join(fault.file);
        let source = read(&path);
        assert!(
            source.contains(fault.right),
            "{} no longer holds the text that the fault `{}` replaces",
            fault.file,
            fault.name
        );
        write(&path, &source.replacen(fault.right, fault.wrong, 1));
        write(&folder.join("emu").join("only.cpp"), &only_one_test(fault.test));
        let mut objects = compile(&compiler, &folder, fault.name, &[fault.test, "only"]);
        objects.extend_from_slice(&shared);
        let program = link(&compiler, fault.name, &objects);
        let output = run(Command::new(program));
        assert!(!output.status.success(), "the fault `{}` went unnoticed", fault.name);
    }
}

/// Empty bodies for the tests that are not under trial, so that the program links.
fn only_one_test(test: &str) -> String {
    let mut text = String::from("#include \"check.hpp\"\n");
    for other in TESTS.iter().filter(|other| **other != test) {
        text += "void ";
        text += other;
        text += "() {}\n";
    }
    text
}

fn cuda_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated_kernels").join(name);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Compiles `sources` of `cuda/emu` to one object each.
fn compile(compiler: &Compiler, cuda: &Path, name: &str, sources: &[&str]) -> Vec<PathBuf> {
    let folder = scratch(name);
    let job = |source: &&str| CompileJob {
        source: cuda.join("emu").join(format!("{source}.cpp")),
        object: folder.join(format!("{source}.o")),
    };
    let jobs: Vec<CompileJob> = sources.iter().map(job).collect();
    compiler.compile(&jobs, &FLAGS).unwrap_or_else(|error| panic!("{error}"));
    jobs.into_iter().map(|job| job.object).collect()
}

fn link(compiler: &Compiler, name: &str, objects: &[PathBuf]) -> PathBuf {
    let program = scratch(name).join("kernel_tests");
    compiler.link(objects, &[], &program).unwrap_or_else(|error| panic!("{error}"));
    program
}

fn run(mut command: Command) -> Output {
    command.output().expect("the program can be started")
}

fn failed_lines(text: &str) -> String {
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).collect();
    failed.join("\n")
}

fn copy_sources(from: &Path, to: &Path) {
    for part in ["", "emu"] {
        std::fs::create_dir_all(to.join(part)).expect("the target folder can be written");
        for entry in std::fs::read_dir(from.join(part)).expect("the kernels' folder can be read") {
            let path = entry.expect("the kernels' folder can be read").path();
            let is_source = path.extension().is_some_and(|extension| {
                ["cu", "cuh", "cpp", "hpp"].iter().any(|kind| extension == OsStr::new(kind))
            });
            if is_source {
                write(&to.join(part).join(path.file_name().expect("a file has a name")), &read(&path));
            }
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
