//! `spillway bench` against a running server, and on engines of its own. Figures are not judged, only that they add up.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use spillway_tests::{run_to_end, tiny_model};

use super::requests::tiny_server;

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

async fn bench(arguments: &[&str]) -> Output {
    let output = run_to_end(&[&["bench"], arguments].concat()).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!message.contains("panicked"), "{message}");
    output
}

async fn done(arguments: &[&str]) -> Output {
    let output = bench(arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it was written")).expect("it is JSON")
}

#[tokio::test]
async fn a_sweep_over_loads_gives_figures_a_file_and_a_page() {
    let server = tiny_server(&[]).await;
    let base = server.client().base().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let (result, page) = (folder.path().join("result.json"), folder.path().join("report.html"));
    let dataset = folder.path().join("prompts.jsonl");
    let lines = "{\"prompt\": \"The river\", \"output_len\": 3}\n{\"prompt\": \"The stone finds\"}\n";
    std::fs::write(&dataset, lines).expect("room on the disk");
    let common = ["serve", "--base-url", &base, "--dataset", text(&dataset), "--max-tokens", "5"];
    let closed = ["--concurrency", "1,3", "--num-requests", "6", "--goodput", "ttft:10m", "e2e:10m"];
    let files = [
        "--percentiles",
        "50,95",
        "--output",
        text(&result),
        "--report",
        text(&page),
        "--api-key",
        "sk-hidden",
    ];
    let output = done(&[&common[..], &closed, &files].concat()).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        printed.contains("c=1") && printed.contains("c=3") && printed.contains("6 good of 6"),
        "{printed}"
    );

    let report = read_json(&result);
    assert_eq!((&report["bench"], &report["model"]), (&json!("serve"), &json!("tied")));
    assert_eq!(report["server_version"], env!("CARGO_PKG_VERSION"));
    let loads = report["loads"].as_array().expect("a list");
    assert_eq!(loads.len(), 2, "{report}");
    for load in loads {
        assert_eq!((&load["num_completed"], &load["num_failed"]), (&json!(6), &json!(0)), "{load}");
        // Three prompts of three tokens, three of five.
        assert_eq!(load["output_tokens"], 24, "{load}");
        let p95 = |times: &str| load[times]["p95"].as_f64().expect("it was asked for");
        assert!(p95("ttft_ms") <= p95("e2e_ms"), "{load}");
        assert_eq!(load["goodput"]["num_good"], 6);
    }
    let page = std::fs::read_to_string(&page).expect("it was written");
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(page.contains("c=3") && !page.contains("sk-hidden") && !report.to_string().contains("sk-hidden"));

    for (rates, num_loads) in [(["--request-rate", "200,inf"], 2), (["--rate", "100"], 1)] {
        let flags = ["--num-requests", "5", "--json", "--endpoint", "completions"];
        let output = done(&[&common[..], &rates, &flags].concat()).await;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(printed.lines().count(), num_loads, "{printed}");
        for line in printed.lines() {
            let load: Value = serde_json::from_str(line).expect("a line is an object");
            assert_eq!(
                (load["num_completed"].as_u64(), load["num_requests"].as_u64()),
                (Some(5), Some(5)),
                "{load}"
            );
        }
    }
}

#[tokio::test]
async fn failures_are_counted_by_kind_and_nothing_but_failures_is_one() {
    let server = tiny_server(&["--max-model-len", "32"]).await;
    let base = server.client().base().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = folder.path().join("prompts.txt");
    std::fs::write(&dataset, format!("short\n{}\n", "long ".repeat(100))).expect("room on the disk");
    let common = ["serve", "--base-url", &base, "--max-tokens", "4", "--num-warmups", "0"];
    let mixed = ["--endpoint", "completions", "--dataset", text(&dataset), "--num-requests", "6", "--json"];
    let output = done(&[&common[..], &mixed].concat()).await;
    let load: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (&load["num_completed"], &load["failures"]["status 400"]["count"]),
        (&json!(3), &json!(3)),
        "{load}"
    );
    let all =
        ["--endpoint", "completions", "--input-words", "200", "--num-requests", "3", "--concurrency", "2"];
    let output = bench(&[&common[..], &all].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("3 x status 400") && stderr.contains("all requests failed"), "{stdout}{stderr}");
}

#[tokio::test]
async fn engines_are_measured_without_a_server() {
    let model = tiny_model("tied");
    let folder = tempfile::tempdir().expect("a folder");
    let result = folder.path().join("result.json");
    let latency = [
        "latency",
        "--model",
        text(&model),
        "--batch-size",
        "1,3",
        "--input-len",
        "20",
        "--output-len",
        "4,4",
    ];
    let output =
        done(&[&latency[..], &["--num-iters", "2", "--num-iters-warmup", "1", "--json"]].concat()).await;
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an object"))
        .collect();
    assert_eq!(lines.len(), 4);
    for (figures, batch_size) in lines.iter().zip([1, 1, 3, 3]) {
        let requests = &figures["requests"];
        assert_eq!((&figures["batch_size"], &figures["batch_ms"]["count"]), (&json!(batch_size), &json!(2)));
        assert_eq!(requests["num_completed"], 2 * batch_size);
        assert_eq!(
            (&requests["prompt_tokens"], &requests["cached_tokens"]),
            (&json!(40 * batch_size), &json!(0))
        );
        assert_eq!(requests["output_tokens"], 8 * batch_size);
        assert_eq!(requests["itl_ms"]["count"], 6 * batch_size);
    }

    // Fewer may wait than there are requests: the rest enters when there is room.
    let throughput = ["throughput", "--model", text(&model), "--num-requests", "40", "--max-waiting", "3"];
    let lengths = ["--input-len", "16", "--output-len", "5", "--output", text(&result)];
    let output = done(&[&throughput[..], &lengths].concat()).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("40 requests in"));
    let load = &read_json(&result)["loads"][0];
    assert_eq!((&load["prompt_tokens"], &load["output_tokens"]), (&json!(640), &json!(200)), "{load}");
    let output = bench(&["throughput", "--model", text(&model), "--input-len", "510"]).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("510 input and 128 output tokens are more than the context of 512"),
        "{message}"
    );
}
