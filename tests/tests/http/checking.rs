//! `spillway check`: what it says of a model, and when it fails.

use std::path::Path;

use serde_json::{Value, json};
use spillway_tests::{ModelVariant, TestHub, run_to_end, run_with, tiny_model};

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

async fn check(arguments: &[&str]) -> (bool, Value, String) {
    let output = run_to_end(&[&["check", "--json"], arguments].concat()).await;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {message}"));
    (output.status.success(), report, message)
}

#[tokio::test]
async fn a_model_is_described_with_its_needs_and_the_machine() {
    let path = tiny_model("gguf/tied-q8_0.gguf");
    let (fits, report, _) = check(&[text(&path), "--max-num-seqs", "4", "--max-model-len", "64"]).await;
    assert!(fits, "{report}");
    let model = &report["model"];
    assert_eq!((&model["architecture"], &model["format"]), (&json!("llama"), &json!("gguf")));
    assert_eq!((&model["context"], &model["tied_head"]), (&json!(512), &json!(true)));
    assert!(report["tensors"]["Q8_0"]["tensors"].as_u64() > Some(0), "{report}");
    assert!(
        report["text"]["tokenizer"].as_str().is_some_and(|kind| kind.starts_with("gguf gpt2")),
        "{report}"
    );
    let needs = &report["needs"];
    let size = |name: &str| needs[name].as_u64().unwrap_or_else(|| panic!("{name}: {needs}"));
    assert_eq!(size("kv_of_one_sequence_bytes"), 64 * size("kv_token_bytes"));
    assert_eq!(size("kv_of_all_sequences_bytes"), 4 * size("kv_of_one_sequence_bytes"));
    assert_eq!(
        size("total_bytes"),
        size("weights_bytes") + size("activations_bytes") + size("kv_cache_bytes")
    );
    assert_eq!(size("full_sequences_at_once"), 4);
    assert!(report["machine"]["threads"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["config"]["scheduler"]["max_num_seqs"], 4);

    let output = run_to_end(&["check", text(&tiny_model("tied"))]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["architecture", "llama", "KiB", "tokenizer.json BPE", "chat template", "fits", "[scheduler]"]
    {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
}

#[tokio::test]
async fn what_cannot_be_served_fails_with_the_mend() {
    let tied = tiny_model("tied");
    let tied = text(&tied);
    let broken = ModelVariant::copy("tied");
    std::fs::write(broken.path().join("model.safetensors"), b"no weights").expect("room on the disk");
    let other = ModelVariant::copy("tied");
    other.edit("config.json", |config| config["model_type"] = json!("mamba"));
    for (arguments, says) in [
        (&[tied, "--kv-cache-memory", "900TiB"][..], &["need", "are free", "lower --kv-cache-memory to"][..]),
        (&[tied, "--max-model-len", "513"], &["--max-model-len is 513, limit 512"]),
        (
            &[tied, "--kv-cache-memory", "64KiB", "--max-model-len", "129"],
            &["129", "128", "raise --kv-cache-memory"],
        ),
        (&[tied, "--kv-cache-memory", "1KiB"], &["no room for one block"]),
        (&[text(broken.path())], &["model.safetensors is malformed"]),
        (&[text(other.path())], &["mamba", "supported"]),
        (&["no/such/model"], &["no/such/model"]),
    ] {
        let (fits, report, message) = check(arguments).await;
        assert!(!fits, "{arguments:?} was let through");
        let problem = report["problem"].as_str().unwrap_or_default();
        assert_eq!(report["fits"], false);
        for part in says {
            assert!(
                problem.contains(part) && message.contains(part),
                "{arguments:?}: `{part}` is not in `{problem}`"
            );
        }
    }
}

#[tokio::test]
async fn a_gpu_that_is_not_there_has_the_exit_code_that_serving_would_have() {
    // No machine has so many, with or without a driver, and with or without GPU code in this build.
    let output = run_to_end(&["check", "no/such/model", "--device", "cuda:99"]).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.starts_with("error: --device cuda:99 cannot be used"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    let output = run_to_end(&["check", "no/such/model", "--device", "cpu"]).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn nothing_is_fetched_to_be_checked() {
    let hub = TestHub::start().await;
    let home = tempfile::tempdir().expect("a folder");
    let variables = [("HF_ENDPOINT", hub.address()), ("HF_HOME", text(home.path())), ("HF_HUB_CACHE", "")];
    let output = run_with(&variables, &["check", "org/tied"]).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("run `spillway pull org/tied`"), "{message}");
    assert_eq!(hub.take_requests(), []);
}
