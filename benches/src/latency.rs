//! `spillway bench latency`: how long one batch takes in the engine alone, without HTTP.
//!
//! All requests of a batch enter at once, and the next batch begins when the last one of them has ended. Prompts are random
//! and differ in every batch, so that the prefix cache finds none.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::bail;
use clap::Args as ClapArgs;
use futures::future::join_all;
use serde::Serialize;
use spillway_engine::EngineHandle;

use crate::figures::{Figures, Outcome, Wanted};
use crate::in_process::{EngineAsk, EngineClient};
use crate::output_args::OutputArgs;
use crate::report::{self, RunReport};
use crate::stats::Summary;
use crate::stopwatch::Stopwatch;

/// Measure how long one batch takes in the engine alone: time to the first token, between tokens, and to the end.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Requests of a batch; several, by commas, run in turn.
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [8])]
    pub batch_size: Vec<usize>,
    /// Tokens of each prompt; several, by commas, run in turn.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_values_t = [32])]
    pub input_len: Vec<usize>,
    /// Tokens to generate for each request; several, by commas, run in turn.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_values_t = [NonZeroU32::new(128).expect("not zero")])]
    pub output_len: Vec<NonZeroU32>,
    /// Batches that are measured.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub num_iters: usize,
    /// Batches before them that are not.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub num_iters_warmup: usize,
    /// Seed of the prompts.
    #[arg(long, default_value_t = 0)]
    pub prompt_seed: u64,
    /// What is told, and where.
    #[command(flatten)]
    pub told: OutputArgs,
}

/// The figures of one shape of batch.
#[derive(Debug, Clone, Serialize)]
pub struct BatchFigures {
    /// Requests of a batch.
    pub batch_size: usize,
    /// Tokens of each prompt.
    pub input_len: usize,
    /// Tokens of each answer.
    pub output_len: u32,
    /// Times from the first request's entry to the last one's end, a batch each.
    pub batch_ms: Option<Summary>,
    /// The requests of all batches together.
    pub requests: Figures,
}

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        for (flag, is_zero) in [
            ("batch-size", self.batch_size.contains(&0)),
            ("input-len", self.input_len.contains(&0)),
            ("num-iters", self.num_iters == 0),
        ] {
            if is_zero {
                bail!("--{flag} is 0, must be at least 1");
            }
        }
        Ok(())
    }

    fn shapes(&self) -> impl Iterator<Item = (usize, usize, NonZeroU32)> {
        self.batch_size.iter().flat_map(move |&batch| {
            self.input_len
                .iter()
                .flat_map(move |&input| self.output_len.iter().map(move |&output| (batch, input, output)))
        })
    }
}

/// Runs every shape of batch that was asked for and prints a row of each.
///
/// # Errors
///
/// If the arguments go beyond the engine's limits, or a request fails.
pub async fn run(args: &Args, engine: &EngineHandle) -> anyhow::Result<Vec<BatchFigures>> {
    args.check()?;
    let next_request = AtomicU64::new(0);
    let client = EngineClient::new(engine, &next_request);
    let mut report = RunReport::new("latency", engine.card().id.to_string());
    let mut shapes = Vec::new();
    // Through all shapes, so that none of them meets a prompt that is in the engine's prefix cache.
    let mut next_prompt = 0;
    for shape in args.shapes() {
        let figures = measure(args, client, shape, &mut next_prompt).await?;
        if args.told.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            print_row(&figures, shapes.is_empty());
        }
        report.loads.push(figures.requests.clone());
        shapes.push(figures);
    }
    report::write(&report, args.told.output.as_deref(), None)?;
    Ok(shapes)
}

async fn measure(
    args: &Args,
    client: EngineClient<'_>,
    (batch_size, input_len, output_len): (usize, usize, NonZeroU32),
    next_prompt: &mut usize,
) -> anyhow::Result<BatchFigures> {
    client.check_length(input_len, output_len.get())?;
    let mut batches: Vec<Duration> = Vec::with_capacity(args.num_iters);
    let mut samples = Vec::new();
    for iteration in 0..args.num_iters_warmup + args.num_iters {
        let prompts = (*next_prompt..*next_prompt + batch_size)
            .map(|index| client.random_prompt(args.prompt_seed, index, input_len))
            .collect::<Result<Vec<_>, _>>()?;
        *next_prompt += batch_size;
        let watch = Stopwatch::start();
        let requests =
            prompts.into_iter().map(|prompt| client.complete(EngineAsk { prompt, max_tokens: output_len }));
        let results = join_all(requests).await;
        let elapsed = watch.elapsed();
        let batch = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        if iteration >= args.num_iters_warmup {
            batches.push(elapsed);
            samples.extend(batch);
        }
    }
    let outcome = Outcome { samples, failures: Vec::new(), elapsed: batches.iter().sum() };
    let load = format!("{batch_size} x {input_len}+{output_len}");
    let wanted = Wanted { ranks: &args.told.percentiles, objectives: &[] };
    Ok(BatchFigures {
        batch_size,
        input_len,
        output_len: output_len.get(),
        batch_ms: Summary::of(batches, &args.told.percentiles),
        requests: Figures::new(load, &outcome, wanted),
    })
}

fn print_row(figures: &BatchFigures, is_first: bool) {
    if is_first {
        println!("latencies in ms at the percentiles asked for; a batch is requests x input+output tokens");
        println!(
            "{:>16} {:>22} {:>20} {:>20} {:>10}",
            "batch", "whole batch", "first token", "between tokens", "out tok/s"
        );
    }
    println!(
        "{:>16} {:>22} {:>20} {:>20} {:>10.1}",
        figures.requests.load,
        Summary::cell(figures.batch_ms.as_ref()),
        Summary::cell(figures.requests.ttft_ms.as_ref()),
        Summary::cell(figures.requests.itl_ms.as_ref()),
        figures.requests.output_tokens_per_s
    );
}
