//! The rows of the tables: each figure, its floor, and the fraction of the floor that was reached.

use serde::Serialize;
use spillway_kernels::DeviceRates;
use spillway_models::{ModelWork, StepWork};

use super::inputs::{Batch, Inputs, Load, PeerRow};

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A step that gives each sequence of a batch its next token.
    Decode,
    /// One prompt, to its first token.
    Prefill,
    /// Many clients over HTTP.
    Serve,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// What was set, or who the peer is.
    pub(super) variant: String,
    /// Sequences of the batch, or clients.
    pub(super) batch_size: u64,
    /// Of the context in the middle of the answer, or of the prompt.
    pub(super) tokens: u64,
    /// Of a step, of a prompt, or of a request's share of the time.
    pub(super) ms: f64,
    pub(super) tokens_per_s: f64,
    /// Bytes and operations that no implementation can save, the milliseconds that they take on this device, and that
    /// time's part of the measured one.
    pub(super) floor: Option<Floor>,
    /// Medians of a served load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latencies: Option<Latencies>,
}

/// The least that a row's work takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Floor {
    pub(super) bytes: u64,
    pub(super) operations: u64,
    pub(super) ms: f64,
    pub(super) fraction: f64,
}

/// What clients saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Latencies {
    pub(super) first_token_ms: f64,
    pub(super) between_tokens_ms: f64,
    pub(super) failed: u64,
}

/// All rows, in the order of the parts; the peer's last.
pub(super) fn all(inputs: &Inputs) -> Vec<Row> {
    let rates = inputs.rates();
    let mut rows = Vec::new();
    for (variant, batches) in &inputs.latency {
        rows.extend(batches.iter().filter_map(|batch| of_batch(variant, batch, rates)));
    }
    // What is served, and what the peer computes, is the first variant.
    let batches = inputs.latency.first().map_or(&[][..], |(_, batches)| batches);
    let work = batches.iter().find_map(|batch| batch.work.as_ref());
    let variant = inputs.latency.first().map_or("", |(variant, _)| variant);
    rows.extend(inputs.serve.iter().filter_map(|load| of_load(variant, load, work, rates)));
    if let Some(peer) = &inputs.peer {
        rows.extend(peer.rows.iter().filter_map(|row| of_peer(row, work, rates)));
    }
    rows
}

fn floor(work: StepWork, ms: f64, rates: Option<DeviceRates>) -> Option<Floor> {
    let floor_ms = 1e3 * work.floor_s(rates?);
    Some(Floor { bytes: work.bytes, operations: work.operations, ms: floor_ms, fraction: floor_ms / ms })
}

/// What was measured of one step.
struct Measured {
    kind: Kind,
    batch_size: u64,
    tokens: u64,
    ms: f64,
    /// Tokens that the step brings forward.
    num_tokens: u64,
    work: Option<StepWork>,
}

impl Measured {
    fn into_row(self, variant: String, rates: Option<DeviceRates>) -> Row {
        let Self { kind, batch_size, tokens, ms, num_tokens, work } = self;
        Row {
            kind,
            variant,
            batch_size,
            tokens,
            ms,
            tokens_per_s: 1e3 * num_tokens as f64 / ms,
            floor: work.and_then(|work| floor(work, ms, rates)),
            latencies: None,
        }
    }
}

/// A batch whose answers have one token measures its prompts, any other the time between tokens.
fn of_batch(variant: &str, batch: &Batch, rates: Option<DeviceRates>) -> Option<Row> {
    let Batch { num_requests: batch_size, input_len, output_len, .. } = *batch;
    let work = batch.work.as_ref();
    let measured = if output_len == 1 {
        Measured {
            kind: Kind::Prefill,
            batch_size,
            tokens: input_len,
            ms: batch.requests.ttft_ms?.p50,
            num_tokens: batch_size * input_len,
            work: work.map(|work| work.prefill(batch_size, input_len)),
        }
    } else {
        let context = input_len + output_len / 2;
        Measured {
            kind: Kind::Decode,
            batch_size,
            tokens: context,
            ms: batch.step_ms?,
            num_tokens: batch_size,
            work: work.map(|work| work.decode(batch_size, context)),
        }
    };
    Some(measured.into_row(variant.to_owned(), rates))
}

fn of_load(variant: &str, load: &Load, work: Option<&ModelWork>, rates: Option<DeviceRates>) -> Option<Row> {
    let num = load.num_completed.max(1);
    let digits = load.label.rsplit(|letter: char| !letter.is_ascii_digit()).next()?;
    let clients: u64 = digits.parse().ok()?;
    let (prompt, answer) = (load.prompt_tokens / num, load.output_tokens / num);
    // The time that all requests took, shared out evenly.
    let ms = 1e3 * answer as f64 / load.output_tokens_per_s;
    let step = work.map(|work| work.request(clients, prompt, answer));
    Some(Row {
        kind: Kind::Serve,
        variant: variant.to_owned(),
        batch_size: clients,
        tokens: prompt,
        ms,
        tokens_per_s: load.output_tokens_per_s,
        floor: step.and_then(|step| floor(step, ms, rates)),
        latencies: Some(Latencies {
            first_token_ms: load.ttft_ms?.p50,
            between_tokens_ms: load.itl_ms?.p50,
            failed: load.num_failed,
        }),
    })
}

fn of_peer(row: &PeerRow, work: Option<&ModelWork>, rates: Option<DeviceRates>) -> Option<Row> {
    let PeerRow { batch_size, tokens, .. } = *row;
    let ms = row.ms?;
    let (kind, num_tokens, work) = match row.kind.as_str() {
        "decode" => (Kind::Decode, batch_size, work.map(|work| work.decode(batch_size, tokens))),
        _ => (Kind::Prefill, batch_size * tokens, work.map(|work| work.prefill(batch_size, tokens))),
    };
    let measured = Measured { kind, batch_size, tokens, ms, num_tokens, work };
    Some(measured.into_row(format!("transformers, {}", row.how), rates))
}
