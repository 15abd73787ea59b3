//! The fault matrix: for each way in which the cloud can fail, what the client saw, what was tried again, what was
//! charged; streamed and whole, before and after the first content.
//!
//! The table is `faults.txt` beside this file. A line is one request: the fault, how it was asked for, what the client
//! saw, and its rows in the ledger in the order of its attempts: who was called, how that ended, tokens of prompt and
//! answer, and nano-dollars.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::expect_file;
use futures::stream::{self, StreamExt};
use spillway_store::{CallRow, Outcome};
use spillway_tests::{CallEnd, Reply, Server, Streamed};
use spillway_types::Usage;

use super::world::{World, chat, post, stream as ask_for_stream};

/// Every fault, by the name of its model.
const FAULTS: [&str; 53] = [
    "plain",
    "tool",
    "thinker",
    "cached",
    "throttle-http",
    "throttle-http-wait",
    "throttle-http-wait-seconds",
    "throttle-frame-before",
    "throttle-frame-after",
    "not-ready-http",
    "unavailable-http",
    "unavailable-frame-before",
    "unavailable-frame-after",
    "internal-http",
    "internal-frame-before",
    "internal-frame-after",
    "model-timeout-http",
    "model-error-http",
    "model-error-frame-before",
    "model-error-frame-after",
    "quota-http",
    "validation-http",
    "validation-frame-before",
    "validation-frame-after",
    "context-http",
    "access-denied-http",
    "not-found-http",
    "expired-http",
    "clock-skew-http",
    "no-events",
    "no-content",
    "html",
    "bad-gateway",
    "bad-crc-before",
    "bad-crc-after",
    "truncated-before",
    "truncated-after",
    "cut",
    "no-metadata",
    "metadata-first",
    "silent-headers",
    "silent-before",
    "silent-after",
    "silent-end",
    "reset-headers",
    "reset-before",
    "reset-after",
    "stop-max_tokens",
    "stop-content_filtered",
    "stop-guardrail_intervened",
    "stop-model_context_window_exceeded",
    "stop-malformed_tool_use",
    "flaky-2-throttle-http",
];

/// Requests at once: silence is waited for, so many can be silent together.
const NUM_AT_ONCE: usize = 8;

fn config(world: &World) -> String {
    let mut text = String::new();
    let quick = "first_token_timeout = \"1s\"\nidle_timeout = \"1s\"\n";
    for fault in FAULTS {
        text.push_str(&world.bedrock(fault, quick));
    }
    for fault in FAULTS {
        let _ = write!(
            text,
            "[[routes]]\nname = \"{fault}\"\nmodels = [\"{fault}\"]\ndefault_privacy = \"standard\"\ntargets = [\"{fault}\"]\n"
        );
    }
    // Short waits, and a breaker that does not hide what the next request would see.
    text.push_str("[router]\nmax_attempts = 3\nbase_delay = \"1ms\"\nmax_delay = \"3s\"\n");
    text
}

/// The request's name in the ledger.
fn name(fault: &str, is_stream: bool) -> String {
    format!("{fault}/{}", if is_stream { "stream" } else { "whole" })
}

/// What the client of one request saw.
async fn seen(server: &Server, fault: &str, is_stream: bool) -> String {
    let client = server.client();
    let body = chat(fault, "one two three");
    let name = name(fault, is_stream);
    let headers = [("x-request-id", name.as_str())];
    if is_stream {
        return match ask_for_stream(&client, &body, &headers).await {
            Ok(streamed) => {
                let end = match &streamed.error {
                    Some(error) => format!("error {}", error["code"].as_str().unwrap_or_default()),
                    None => format!("end {}", reason(&streamed)),
                };
                format!("200 {} bytes, {end}", streamed.texts().concat().len())
            }
            Err(reply) => refusal(&reply),
        };
    }
    let reply = post(&client, &body, &headers).await;
    if reply.status == 200 {
        let text = reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().len();
        return format!("200 {text} bytes, end {}", reply.finish_reason());
    }
    refusal(&reply)
}

fn reason(streamed: &Streamed) -> String {
    streamed.choices.values().filter_map(|(_, reason)| reason.clone()).collect()
}

fn refusal(reply: &Reply) -> String {
    let error = &reply.json()["error"];
    let retry = reply.header("retry-after").map(|secs| format!(", retry after {secs} s")).unwrap_or_default();
    format!("{} {}{retry}", reply.status, error["code"].as_str().unwrap_or_default())
}

fn told(row: &CallRow) -> String {
    let Usage { prompt_tokens, completion_tokens, .. } = row.usage.unwrap_or_default();
    let outcome = match &row.outcome {
        None => "open",
        Some(Outcome::Answered) => "answered",
        Some(Outcome::Cancelled) => "cancelled",
        Some(Outcome::Broken(code) | Outcome::Failed(code)) => code,
    };
    format!("{outcome} {prompt_tokens}+{completion_tokens} {}", row.charged.nanos())
}

#[tokio::test]
async fn every_fault_is_told_retried_and_charged_as_the_table_says() {
    // Each way with a server of its own, so that no breaker remembers what the other way has met.
    let (streamed, whole) = futures::join!(lines(true), lines(false));
    let mut table = String::new();
    for (streamed, whole) in streamed.iter().zip(&whole) {
        let _ = writeln!(table, "{streamed}\n{whole}");
    }
    expect_file!["faults.txt"].assert_eq(&table);
}

/// A line for each fault, asked for in one way.
async fn lines(is_stream: bool) -> Vec<String> {
    let world = World::new().await;
    world.configure(&config(&world));
    let mut server = world.start(&[]).await;
    let told_to_clients: Vec<(&str, String)> = stream::iter(FAULTS)
        .map(|fault| {
            let server = &server;
            async move { (fault, seen(server, fault, is_stream).await) }
        })
        .buffered(NUM_AT_ONCE)
        .collect()
        .await;
    server.terminate();
    server.exited().await;
    let rows = world.rows();
    settled_rows_equal_what_the_cloud_charges(&world, &rows);
    let way = if is_stream { "stream" } else { "whole" };
    let line = |(fault, seen): (&str, String)| {
        let attempts: Vec<String> =
            rows.iter().filter(|row| row.request == name(fault, is_stream)).map(told).collect();
        format!("{fault:<34} {way:<6} | {seen:<56} | {}", attempts.join(" | "))
    };
    told_to_clients.into_iter().map(line).collect()
}

/// To the token, call by call: what was answered to the end is charged as the cloud charges it.
fn settled_rows_equal_what_the_cloud_charges(world: &World, rows: &[CallRow]) {
    let told = rows.iter().filter_map(|row| Some((row.provider_request_id.clone()?, row.usage?)));
    let settled: BTreeMap<String, Usage> = told.collect();
    let complete = world.cloud.calls().into_iter().filter(|call| call.end == CallEnd::Complete);
    let mut num_complete = 0;
    for call in complete {
        assert_eq!(settled.get(&call.request_id), Some(&call.usage), "{} {}", call.model, call.request_id);
        num_complete += 1;
    }
    assert!(num_complete > 0);
}
