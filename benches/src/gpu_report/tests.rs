//! A folder as the script leaves it, and what the report makes of it.

use std::path::Path;

use serde_json::Value;

use super::*;

/// 1,000 bytes of weights and 100 of keys and values for each token of context; 10 operations for each weight's token.
const WORK: &str = r#"{"weight_bytes": 1000, "layer_operations": 8, "head_operations": 2, "key_operations": 1, "key_bytes": 100,
    "windows": [{"num_layers": 1, "window": null}]}"#;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("the folder takes a file");
}

fn batch(batch_size: u64, output_len: u64, ms: f64) -> String {
    let line = format!(
        r#"{{"batch_size": {batch_size}, "input_len": 10, "output_len": {output_len}, "work": {WORK},
            "step_ms": {ms}, "requests": {{"ttft_ms": {{"p50": {ms}}}}}}}"#
    );
    line.replace('\n', " ") + "\n"
}

/// A device that reads a million bytes and multiplies a million times a second.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    write(path, "about.json", r#"{"date": "2026-11-23", "commit": "abc"}"#);
    write(
        path,
        "parts.jsonl",
        r#"{"name": "kernels", "outcome": "ok", "seconds": 3, "why": ""}
{"name": "latency-bf16", "outcome": "ok", "seconds": 5, "why": ""}
{"name": "latency-int4", "outcome": "not supported", "seconds": 0, "why": "error: unexpected | argument"}
"#,
    );
    write(
        path,
        "kernels.json",
        r#"{"device": {"name": "A GPU"},
            "rates": {"bytes_per_s": 1e6, "operations_per_s": 1e6, "products_by": "cublaslt"},
            "kernels": [{"name": "embed", "shape": "tokens 1", "us": 4.0, "floor_us": 1.0, "fraction": 0.25}]}"#,
    );
    write(path, "latency-bf16.jsonl", &(batch(2, 4, 6.8) + "not JSON\n" + &batch(1, 1, 10.0)));
    write(path, "latency-int4.jsonl", "");
    write(
        path,
        "serve.json",
        r#"{"loads": [{"load": "c=4", "num_completed": 2, "num_failed": 0, "prompt_tokens": 20, "output_tokens": 8,
            "output_tokens_per_s": 100.0, "ttft_ms": {"p50": 5.0}, "itl_ms": {"p50": 1.0}}]}"#,
    );
    write(path, "start.json", r#"{"listening_s": 4.5, "first_token_s": 4.75}"#);
    write(
        path,
        "peer.json",
        r#"{"versions": {"torch": "2"}, "note": null, "rows": [
            {"kind": "decode", "batch_size": 2, "tokens": 12, "ms": 34.0, "how": "CUDA graph"},
            {"kind": "prefill", "batch_size": 1, "tokens": 10, "problem": "out of memory"}]}"#,
    );
    folder
}

fn results(folder: &Path) -> (Value, String) {
    run(folder).expect("the folder is well formed");
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("it is written");
    (serde_json::from_str(&read(RESULTS_JSON)).expect("it is JSON"), read(RESULTS_MARKDOWN))
}

#[test]
fn every_figure_stands_with_its_floor_and_the_fraction_reached() {
    let folder = folder();
    let (json, markdown) = results(folder.path());
    let rows = json["rows"].as_array().expect("rows");
    // 1,000 + 2 * 12 * 100 bytes at a million a second are 3.4 ms, half of what was measured.
    assert_eq!(rows[0]["floor"]["bytes"], 3400);
    assert!((rows[0]["floor"]["fraction"].as_f64().expect("a number") - 0.5).abs() < 1e-9);
    for line in [
        "## A GPU, 2026-11-23",
        "- commit: abc",
        "| bf16 | 2 | 12 | 6.80 | 294 | 3.40 | 50 % |",
        "| transformers, CUDA graph | 2 | 12 | 34.00 | 59 | 3.40 | 10 % |",
        "| int4 | not supported: error: unexpected / argument |  |  |  |  |  |",
        "| bf16 | 1 | 10 | 10.00 | 1000 | 1.00 | 10 % |",
        "- prefill 1 x 10: out of memory",
        "| embed | tokens 1 | 4.00 | 1.00 | 25 % |",
        "| latency-int4 | not supported: error: unexpected / argument | 0.0 |",
    ] {
        assert!(markdown.lines().any(|found| found == line), "`{line}` is not in\n{markdown}");
    }
}

#[test]
fn a_served_requests_floor_shares_the_weights_among_the_clients() {
    let folder = folder();
    let (json, markdown) = results(folder.path());
    let is_served = |row: &&Value| row["kind"] == "serve";
    let row = json["rows"].as_array().and_then(|rows| rows.iter().find(is_served)).expect("a load");
    // 4 tokens, each a quarter of the weights and its own 12 keys.
    assert_eq!(row["floor"]["bytes"], 4 * (1000 / 4 + 12 * 100));
    assert_eq!((&row["batch_size"], &row["tokens"]), (&4.into(), &10.into()));
    assert!(
        markdown.contains("4.5 s until it listens, 4.8 s until a client has its first token"),
        "{markdown}"
    );
}

#[test]
fn what_is_missing_has_no_rows_and_what_is_malformed_is_named() {
    let empty = tempfile::tempdir().expect("a folder");
    let (json, markdown) = results(empty.path());
    assert_eq!(json["rows"], Value::Array(Vec::new()));
    assert!(markdown.contains("rates were not measured"), "{markdown}");
    write(empty.path(), "serve.json", "{}");
    let error = run(empty.path()).expect_err("it has no loads");
    assert!(format!("{error:#}").contains("serve.json"), "{error:#}");
}
