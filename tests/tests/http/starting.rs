//! Starts that fail: the exit code tells what to mend, and so does the message.

use std::path::Path;

use spillway_tests::{ModelVariant, Server, binary, run_to_end, tiny_model};

use super::requests::{COMPLETIONS, greedy};

/// Exit code for a command line or config that cannot be followed.
const USAGE: i32 = 2;
/// Exit code where the device that is asked for cannot be used.
const NO_DEVICE: i32 = 3;
/// Exit code for everything else.
const FAILURE: i32 = 1;

/// Runs the binary, which must end with `code` and a message with all of `says`, and without a panic.
async fn fails(arguments: &[&str], code: i32, says: &[&str]) {
    let output = run_to_end(arguments).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    for part in says {
        assert!(message.contains(part), "{arguments:?}: `{part}` is not in `{message}`");
    }
    assert!(!message.contains("panicked"), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "messages belong on standard error");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[tokio::test]
async fn a_config_that_cannot_be_followed_names_the_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("spillway.toml");
    let cases = [
        ("[scheduler]\nmax_num_sequences = 4\n", USAGE, ["max_num_sequences", "spillway.toml"]),
        ("[sheduler]\nmax_num_seqs = 4\n", USAGE, ["sheduler", "spillway.toml"]),
        ("[scheduler]\nmax_num_seqs = \"four\"\n", USAGE, ["max_num_seqs", "spillway.toml"]),
        ("[server]\nmax_body = 512\n", USAGE, ["max_body", "spillway.toml"]),
        ("[scheduler]\nblock_size = 17\n", USAGE, ["block-size", "17"]),
        ("[scheduler\n", USAGE, ["spillway.toml", "1"]),
    ];
    for (config, code, says) in cases {
        std::fs::write(&file, config).expect("room on the disk");
        fails(&["serve", "--model", "demo", "--config", text(&file)], code, &says).await;
    }
    let missing = folder.path().join("missing.toml");
    fails(
        &["serve", "--model", "demo", "--config", text(&missing)],
        USAGE,
        &["missing.toml", "No such file"],
    )
    .await;
}

#[tokio::test]
async fn flags_override_the_config_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("spillway.toml");
    let config = "[model]\nserved_model_name = \"from-file\"\n[scheduler]\nmax_model_len = 64\n[server]\nmax_body = \"1KiB\"\n";
    std::fs::write(&file, config).expect("room on the disk");
    let server =
        Server::start(&tiny_model("tied"), &["--config", text(&file), "--max-model-len", "32"]).await;
    let model = server.get("/v1/models").await.json()["data"][0].clone();
    assert_eq!((model["id"].as_str(), model["max_model_len"].as_u64()), (Some("from-file"), Some(32)));
    assert_eq!(server.post(COMPLETIONS, &greedy(&"a".repeat(2000), 1)).await.status, 413);
}

#[tokio::test]
async fn a_command_line_that_cannot_be_followed_names_the_flag() {
    let model = tiny_model("tied");
    let model = text(&model);
    fails(&["serve"], USAGE, &["--model"]).await;
    fails(&["serve", "--model", model, "--max-num-sequences", "3"], USAGE, &["--max-num-sequences"]).await;
    fails(&["serve", "--model", model, "--kv-cache-memory", "512"], USAGE, &["512", "512MiB"]).await;
    fails(&["serve", "--model", model, "--drain-timeout", "30"], USAGE, &["30", "30s"]).await;
    fails(&["serve", "--model", model, "--max-in-flight-steps", "3"], USAGE, &["3", "1 or 2"]).await;
    let small = ["serve", "--model", model, "--max-num-batched-tokens", "8", "--max-num-seqs", "9"];
    fails(&small, USAGE, &["--max-num-batched-tokens", "8", "9"]).await;
    fails(&["serve", "--model", model, "--device", "tpu"], USAGE, &["tpu", "cpu"]).await;
    fails(&["fly"], USAGE, &["fly"]).await;
}

#[tokio::test]
async fn a_model_that_cannot_be_served_is_named() {
    fails(&["serve", "--model", "no/such/model"], FAILURE, &["no/such/model"]).await;
    let empty = tempfile::tempdir().expect("a temporary folder");
    fails(&["serve", "--model", text(empty.path())], FAILURE, &[text(empty.path()), "config.json"]).await;

    let no_weights = ModelVariant::copy("tied");
    std::fs::remove_file(no_weights.path().join("model.safetensors")).expect("it was copied");
    fails(&["serve", "--model", text(no_weights.path())], FAILURE, &["safetensors"]).await;
    let cut = ModelVariant::copy("tied");
    let weights = std::fs::read(cut.path().join("model.safetensors")).expect("it was copied");
    std::fs::write(cut.path().join("model.safetensors"), &weights[..weights.len() / 2])
        .expect("room on the disk");
    fails(&["serve", "--model", text(cut.path())], FAILURE, &["model.safetensors"]).await;
    let no_tokenizer = ModelVariant::copy("tied");
    std::fs::remove_file(no_tokenizer.path().join("tokenizer.json")).expect("it was copied");
    fails(&["serve", "--model", text(no_tokenizer.path())], FAILURE, &["tokenizer.json"]).await;
    let other = ModelVariant::copy("tied");
    other.edit("config.json", |config| {
        config["architectures"] = serde_json::json!(["MambaForCausalLM"]);
        config["model_type"] = serde_json::json!("mamba");
    });
    fails(&["serve", "--model", text(other.path())], FAILURE, &["ama"]).await;
    let long = tiny_model("tied");
    let long = ["serve", "--model", text(&long), "--max-model-len", "513"];
    fails(&long, FAILURE, &["513", "512"]).await;
    // 8 blocks of 16 tokens.
    let small = tiny_model("tied");
    let small = ["serve", "--model", text(&small), "--kv-cache-memory", "64KiB", "--max-model-len", "129"];
    fails(&small, FAILURE, &["--max-model-len", "129", "128", "--kv-cache-memory"]).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let model = tiny_model("tied");
    let server = Server::start(&model, &[]).await;
    let base = server.client().base().to_owned();
    let port = base.rsplit(':').next().expect("an address has a port");
    fails(&["serve", "--model", text(&model), "--port", port], FAILURE, &["--port", port]).await;
}

#[tokio::test]
async fn a_gpu_that_is_not_there_is_told_before_the_model_is_looked_for() {
    // No machine has so many, with or without a driver, and with or without GPU code in this build.
    let gpu = ["--device", "cuda:99"];
    for command in [["serve", "--model", "no/such/model"], ["bench", "latency", "--model=no/such/model"]] {
        let arguments = [&command[..], &gpu[..]].concat();
        fails(&arguments, NO_DEVICE, &["--device cuda:99 cannot be used"]).await;
    }
    fails(&["gpu-selftest", "--ordinal", "99"], NO_DEVICE, &["cuda:99"]).await;
    let model = tiny_model("tied");
    let candle = ["serve", "--model", text(&model), "--device", "cuda", "--executor", "candle"];
    fails(&candle, NO_DEVICE, &["--executor candle", "--features candle-cuda"]).await;
}

#[tokio::test]
async fn a_kv_cache_that_only_gpus_hold_is_refused_on_the_cpu() {
    let model = tiny_model("tied");
    let fp8 = ["--device", "cpu", "--kv-cache-dtype", "fp8"];
    let says = ["--kv-cache-dtype fp8 needs a GPU", "f32, f16 or bf16"];
    for command in [&["serve"][..], &["bench", "latency"]] {
        fails(&[command, &["--model", text(&model)], &fp8[..]].concat(), NO_DEVICE, &says).await;
    }
}

#[test]
fn the_binary_needs_no_cuda_library_to_start() {
    let output =
        std::process::Command::new("ldd").arg(binary()).output().expect("ldd is part of the C library");
    let libraries = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && libraries.contains("libc.so"), "{libraries}");
    for library in ["libcuda", "libcublas", "libcurand", "libnvrtc", "libcudart"] {
        assert!(!libraries.contains(library), "{libraries}");
    }
}
