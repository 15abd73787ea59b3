//! The page: all loads, all series, nothing from elsewhere, no secret.

use std::time::Duration;

use super::*;
use crate::figures::{Outcome, Wanted};
use crate::sample::{Failure, FailureKind, Sample};

fn figures(load: &str, first_ms: u64) -> Figures {
    let ms = Duration::from_millis;
    let sample = |first| Sample {
        prompt_tokens: 10,
        output_tokens: 3,
        first_token: ms(first),
        gaps: vec![ms(20); 2],
        end_to_end: ms(first + 40),
        ..Sample::default()
    };
    let outcome = Outcome {
        samples: vec![sample(first_ms), sample(2 * first_ms)],
        failures: vec![Failure::new(FailureKind::Status(503), "<busy>")],
        elapsed: Duration::from_secs(2),
    };
    let ranks = ["50", "99"].map(|rank| rank.parse().expect("a rank"));
    let objectives = ["ttft:150ms".parse().expect("an objective")];
    Figures::new(load.to_owned(), &outcome, Wanted { ranks: &ranks, objectives: &objectives })
}

fn report() -> RunReport {
    let mut report = RunReport::new("serve", "org/<tiny>".to_owned());
    report.command = "spillway bench serve --concurrency 1,4".to_owned();
    report.machine = "AMD EPYC, 2 cores".to_owned();
    report.server = Some("http://127.0.0.1:8000".to_owned());
    report.server_version = Some("0.9".to_owned());
    report.loads = vec![figures("c=1", 100), figures("c=4", 300), figures("inf", 900)];
    report
}

#[test]
fn the_page_has_every_plot_legend_and_row_and_needs_nothing_from_elsewhere() {
    let page = report().html();
    assert_eq!(page.matches("<svg").count(), 5);
    assert_eq!((page.matches("<tr>").count(), page.matches("<polyline").count()), (4, 10));
    // Two percentiles of three times, two throughputs and two rates, at three loads each.
    assert_eq!(page.matches("<circle").count(), 30);
    for part in [
        "<title>spillway bench serve: org/&lt;tiny&gt;</title>",
        "<dt>command</dt><dd>spillway bench serve --concurrency 1,4</dd>",
        "<dd>AMD EPYC, 2 cores</dd>",
        "<dd>0.9</dd>",
        ">Time to first token, ms</text>",
        ">Throughput, tokens a second</text>",
        ">p50</text>",
        ">p99</text>",
        ">good</text>",
        "<td>c=4</td><td>2</td><td>1 status 503</td><td>1.00</td><td>0.00</td><td>3.0</td><td>13.0</td><td>300.0/600.0</td>",
        "<title>p99 at c=1: 200.00</title>",
    ] {
        assert!(page.contains(part), "`{part}` is not in {page}");
    }
    for part in ["<script", "http-equiv", "src=", "href=", "url(", "<tiny>", "NaN"] {
        assert!(!page.contains(part), "`{part}` is in the page");
    }
}

#[test]
fn the_result_is_json_with_the_percentiles_by_name() {
    let json = serde_json::to_value(report()).expect("it serialises");
    assert_eq!(json["bench"], "serve");
    assert_eq!(json["loads"][1]["ttft_ms"]["p99"], 600.0);
    assert_eq!(json["loads"][0]["goodput"]["num_good"], 1);
    assert_eq!(json["loads"][0]["failures"]["status 503"]["count"], 1);
}

#[test]
fn keys_are_not_repeated() {
    let told = |line: &str| without_secrets(line.split(' ').map(str::to_owned));
    assert_eq!(told("bench --api-key sk-1 --seed 2"), "bench --api-key ... --seed 2");
    assert_eq!(told("bench --api-key=sk-1 --json"), "bench --api-key=... --json");
}
