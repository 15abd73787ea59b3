//! Goal: no file makes a reader panic or take more memory than its length calls for. Method: a short run of the fuzzer
//! with a fixed seed; a long one is `cargo run --workspace --bin fuzz -- gguf --seconds 600`.

use std::path::Path;

use peak_alloc::PeakAlloc;
use spillway_tests::fuzz::{Fuzzer, Target, targets};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Inputs for each target: a few seconds of work.
const NUM_INPUTS: usize = 1500;

/// One test, since the memory of the whole process is watched.
#[test]
fn spoiled_files_are_borne_and_what_is_not_borne_is_found() {
    let folder = tempfile::tempdir().expect("the system has a temporary folder");
    the_fuzzer_finds_panics_and_lavish_readers(folder.path());
    for target in targets() {
        let mut fuzzer = Fuzzer::new(&target, 1, &MEMORY, folder.path());
        for seed in (target.seeds)() {
            assert_eq!(fuzzer.judge(&seed), None, "{}: a valid file", target.name);
        }
        for num_before in 0..NUM_INPUTS {
            if let Some(finding) = fuzzer.step() {
                panic!("{}, seed 1, input {num_before}: {}", target.name, finding.what);
            }
        }
    }
}

fn the_fuzzer_finds_panics_and_lavish_readers(folder: &Path) {
    let judge = |run: fn(&[u8], &Path)| {
        let target = Target { name: "planted", seeds: || vec![vec![1; 100]], run };
        Fuzzer::new(&target, 1, &MEMORY, folder).judge(&[1; 100])
    };
    assert_eq!(judge(|_, _| {}), None);
    let found = judge(|bytes, _| panic!("byte {}", bytes[99])).expect("it panics");
    assert_eq!(found, "it panicked: byte 1");
    let found = judge(|_, _| drop(Vec::<u8>::with_capacity(64 << 20))).expect("it is lavish");
    assert!(found.contains("for an input of 100, limit 8395008"), "{found}");
}
