//! `scripts/gpu-check.sh` from end to end: packed as for a node, unpacked elsewhere, run on the stand-in for a GPU.
//!
//! It runs with a tiny shape, so its figures mean nothing; that all its parts run, and what its report says of them, does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use spillway_emulated_driver::{EmulatedDriver, Setting};
use spillway_tests::{binary, tiny_model};

/// Memory of the stand-in's GPU.
const MEMORY: Setting = Setting::MemoryBytes(1 << 30);
/// Exit code where there is no usable device.
const NO_DEVICE: i32 = 3;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/gpu-check.sh")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn output(command: &mut Command) -> Output {
    command.output().expect("it can be started")
}

/// Packs the built binary and a tiny model, and unpacks them in `folder`. Answers with what packing said.
fn unpacked(folder: &Path) -> String {
    let archive = folder.join("carried.tgz");
    let mut pack = Command::new(script());
    pack.arg("--pack").arg(&archive).arg(binary());
    pack.arg("--model").arg(tiny_model("gguf/tied-q8_0.gguf")).args(["--layers", "1"]);
    let packed = output(&mut pack);
    assert!(packed.status.success(), "{}", told(&packed));
    let untarred = output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder));
    assert!(untarred.status.success(), "{}", told(&untarred));
    told(&packed)
}

#[test]
fn one_command_gives_the_whole_table_from_what_is_carried_alone() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let packed = unpacked(folder.path());
    assert!(packed.contains("bytes  packed, at most 60000000"), "{packed}");

    let mut run = driver.command(folder.path().join("gpu-check/gpu-check.sh"), &[MEMORY]);
    run.current_dir(folder.path()).args(["--quick", "--output", "results"]);
    let ran = output(&mut run);
    let told = told(&ran);
    assert!(ran.status.success(), "{told}");

    let results = folder.path().join("results");
    let json = std::fs::read_to_string(results.join("results.json")).expect("it is written");
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    for part in json["parts"].as_array().expect("parts") {
        let expected: &[&str] = match part["name"].as_str().expect("a name") {
            // A row of its own even where a build does not know the option.
            "latency-int4-fp8-kv" | "latency-candle" => &["ok", "not supported"],
            _ => &["ok"],
        };
        assert!(
            part["outcome"].as_str().is_some_and(|outcome| expected.contains(&outcome)),
            "{part}\n{told}"
        );
    }
    let rows = json["rows"].as_array().expect("rows");
    for (kind, variant, batch) in [
        ("decode", "bf16", 1),
        ("decode", "bf16", 2),
        ("decode", "int8", 2),
        ("decode", "int4", 2),
        ("decode", "fp8", 2),
        ("decode", "bf16-no-graphs", 1),
        ("decode", "bf16-no-overlap", 1),
        ("decode", "bf16-batch-invariant", 1),
        ("prefill", "bf16", 1),
        ("serve", "bf16", 1),
        ("serve", "bf16", 2),
    ] {
        let is_it =
            |row: &&Value| row["kind"] == kind && row["variant"] == variant && row["batch_size"] == batch;
        let row =
            rows.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {variant} {batch} in {json:#}"));
        assert!(
            row["tokens_per_s"].as_f64() > Some(0.0) && row["floor"]["fraction"].as_f64() > Some(0.0),
            "{row}"
        );
    }
    assert!(json["kernels"].as_array().is_some_and(|kernels| kernels.len() > 30), "{json:#}");
    assert!(json["start"]["first_token_s"].as_f64() >= json["start"]["listening_s"].as_f64());
    let compared = json["parity"].as_array().expect("a model was carried");
    // A build with candle's CUDA code has a third, which the stand-in cannot serve.
    let compared: Vec<&Value> = compared.iter().filter(|parity| parity["not_compared"].is_null()).collect();
    assert!(compared.iter().all(|parity| parity["ok"] == true) && compared.len() == 2, "{compared:?}");

    let table = std::fs::read_to_string(results.join("results.md")).expect("it is written");
    assert!(told.contains(&table), "the table is printed");
    for row in ["| bf16 | 2 |", "| bf16 | 1 | 24 |", "### Served over HTTP", "| kernels | ok |"] {
        assert!(table.contains(row), "{row} is not in {table}");
    }
}

#[test]
fn without_a_device_nothing_is_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = Command::new(script());
    // A driver, where there is one, then shows no device.
    run.env("CUDA_VISIBLE_DEVICES", "")
        .current_dir(folder.path())
        .arg(binary())
        .args(["--quick", "--model", "none"]);
    let ran = output(&mut run);
    assert_eq!(ran.status.code(), Some(NO_DEVICE), "{}", told(&ran));
    assert!(told(&ran).contains("no usable device: error: --device cuda:0 cannot be used"), "{}", told(&ran));
}
