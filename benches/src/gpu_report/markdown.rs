//! The tables for people, ready to be put into `benches/results.md`.

use std::fmt::Write;

use serde_json::Value;

use super::inputs::{Inputs, Part};
use super::rows::{Floor, Kind, Row};

/// The whole page. Writing to a string cannot fail.
pub(super) fn page(inputs: &Inputs, rows: &[Row]) -> String {
    let mut page = String::new();
    about(&mut page, inputs);
    let of = |kind| rows.iter().filter(move |row| row.kind == kind);
    let _ = writeln!(page, "\n### Decode, a step of the whole batch\n");
    let _ = writeln!(page, "| weights, cache, setting | batch | context | ms | tok/s | floor ms | reached |");
    let _ = writeln!(page, "|---|---|---|---|---|---|---|");
    of(Kind::Decode).for_each(|row| step(&mut page, row));
    without_rows(&mut page, inputs);
    let _ = writeln!(page, "\n### Prefill, one prompt to its first token\n");
    let _ =
        writeln!(page, "| weights, cache, setting | prompts | tokens | ms | tok/s | floor ms | reached |");
    let _ = writeln!(page, "|---|---|---|---|---|---|---|");
    of(Kind::Prefill).for_each(|row| step(&mut page, row));
    peer(&mut page, inputs);
    serve(&mut page, inputs, rows);
    tried(&mut page, inputs);
    kernels(&mut page, inputs);
    page
}

/// A text that stands in a cell.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

fn about(page: &mut String, inputs: &Inputs) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let device = inputs.kernels["device"]["name"].as_str().unwrap_or("no device");
    let date = inputs.about.get("date").map_or_else(|| "no date".to_owned(), text);
    let _ = writeln!(page, "## {}, {}\n", cell(device), cell(&date));
    for (name, value) in inputs.about.iter().filter(|(name, _)| *name != "date") {
        let _ = writeln!(page, "- {}: {}", cell(name), cell(&text(value)));
    }
    match (inputs.rates(), inputs.kernels["rates"]["products_by"].as_str()) {
        (Some(rates), by) => {
            let (bytes, operations) = (rates.bytes_per_s / 1e9, rates.operations_per_s / 1e12);
            let by = by.unwrap_or("?");
            let _ = writeln!(
                page,
                "- measured first: reads {bytes:.0} GB/s, multiplies {operations:.1} TFLOP/s in bf16 by {by}; floors are counted with these"
            );
        }
        (None, _) => {
            let _ = writeln!(page, "- the device's rates were not measured, so no floor is known");
        }
    }
}

fn percent(floor: Option<&Floor>) -> String {
    floor.map_or_else(
        || "- | -".to_owned(),
        |floor| format!("{:.2} | {:.0} %", floor.ms, 100.0 * floor.fraction),
    )
}

fn step(page: &mut String, row: &Row) {
    let Row { variant, batch_size, tokens, ms, tokens_per_s, floor, .. } = row;
    let variant = cell(variant);
    let floor = percent(floor.as_ref());
    let _ = writeln!(page, "| {variant} | {batch_size} | {tokens} | {ms:.2} | {tokens_per_s:.0} | {floor} |");
}

/// Variants that were not measured, and why.
fn without_rows(page: &mut String, inputs: &Inputs) {
    for (variant, _) in &inputs.latency {
        if let Some(Part { outcome, why, .. }) = inputs.problem(variant) {
            let _ = writeln!(page, "| {} | {outcome}: {} |  |  |  |  |  |", cell(variant), cell(why));
        }
    }
}

fn peer(page: &mut String, inputs: &Inputs) {
    let Some(peer) = &inputs.peer else { return };
    let versions =
        peer.versions.iter().map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?")));
    let versions = versions.collect::<Vec<_>>().join(", ");
    let note = peer.note.as_deref().unwrap_or("the same shape, random bf16 weights, a static cache");
    let _ = writeln!(page, "\nPeer: PyTorch and transformers of the node ({versions}): {}", cell(note));
    for row in &peer.rows {
        if let Some(problem) = &row.problem {
            let (kind, batch, tokens) = (&row.kind, row.batch_size, row.tokens);
            let _ = writeln!(page, "- {kind} {batch} x {tokens}: {}", cell(problem));
        }
    }
}

fn serve(page: &mut String, inputs: &Inputs, rows: &[Row]) {
    let loads: Vec<&Row> = rows.iter().filter(|row| row.kind == Kind::Serve).collect();
    if !loads.is_empty() {
        let _ = writeln!(page, "\n### Served over HTTP\n");
        let _ = writeln!(
            page,
            "| clients | prompt tokens | output tok/s | first token ms | between tokens ms | failed | reached |"
        );
        let _ = writeln!(page, "|---|---|---|---|---|---|---|");
    }
    for row in loads {
        let Row { batch_size, tokens, tokens_per_s, floor, latencies, .. } = row;
        let reached =
            floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.0} %", 100.0 * floor.fraction));
        let Some(seen) = latencies else { continue };
        let (first, between, failed) = (seen.first_token_ms, seen.between_tokens_ms, seen.failed);
        let _ = writeln!(
            page,
            "| {batch_size} | {tokens} | {tokens_per_s:.0} | {first:.1} | {between:.2} | {failed} | {reached} |"
        );
    }
    if let Some(start) = inputs.start {
        let _ = writeln!(
            page,
            "\nFrom the start of the process: {:.1} s until it listens, {:.1} s until a client has its first token. Random weights are made on the host meanwhile, which takes longer than to read them.",
            start.listening_s, start.first_token_s
        );
    }
}

fn tried(page: &mut String, inputs: &Inputs) {
    let _ = writeln!(page, "\n### What was tried\n\n| part | outcome | seconds |\n|---|---|---|");
    for Part { name, outcome, seconds, why } in &inputs.parts {
        let why = if why.is_empty() { String::new() } else { format!(": {}", cell(why)) };
        let _ = writeln!(page, "| {} | {outcome}{why} | {seconds:.1} |", cell(name));
    }
    for parity in inputs.selftest["parity"].as_array().into_iter().flatten() {
        let reference = parity["reference"].as_str().unwrap_or("?");
        let told = match parity["not_compared"].as_str() {
            Some(why) => format!("not compared, {why}"),
            None => format!(
                "mean difference of log-probabilities {:.5} over {} tokens, the first {} of {} greedy tokens agree",
                parity["mean_difference"].as_f64().unwrap_or(f64::NAN),
                parity["tokens"],
                parity["equal_tokens"],
                parity["answer_tokens"]
            ),
        };
        let _ = writeln!(page, "\nParity with {}: {}.", cell(reference), cell(&told));
    }
}

fn kernels(page: &mut String, inputs: &Inputs) {
    let Some(kernels) = inputs.kernels["kernels"].as_array() else { return };
    let _ = writeln!(
        page,
        "\n### Kernels\n\n| kernel | shape | us | floor us | reached |\n|---|---|---|---|---|"
    );
    for kernel in kernels {
        let text = |name: &str| cell(kernel[name].as_str().unwrap_or("?"));
        let number = |name: &str| kernel[name].as_f64().unwrap_or(f64::NAN);
        let (name, shape) = (text("name"), text("shape"));
        let (us, floor, fraction) = (number("us"), number("floor_us"), 100.0 * number("fraction"));
        let _ = writeln!(page, "| {name} | {shape} | {us:.2} | {floor:.2} | {fraction:.0} % |");
    }
}
