//! `spillway bench latency`: how long one batch takes in the engine alone, without HTTP.
//!
//! All requests of a batch enter at once, and the next batch begins when the last one of them has ended. Prompts are random
//! and differ in every batch, so that the prefix cache finds none.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::bail;
use clap::Args as ClapArgs;
use futures::future::join_all;
use serde::Serialize;
use spillway_engine::EngineHandle;
use spillway_models::ModelWork;

use crate::figures::{Figures, Outcome, Wanted};
use crate::in_process::{EngineAsk, EngineClient};
use crate::output_args::OutputArgs;
use crate::report::{self, RunReport};
use crate::sample::Sample;
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
    /// Batches of these shapes instead; several, by commas, run in turn, as in 8x1024+64 (requests x input + output
    /// tokens).
    #[arg(long, value_name = "SHAPE", value_delimiter = ',', conflicts_with_all = ["batch_size", "input_len", "output_len"])]
    pub shape: Vec<BatchShape>,
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

/// A batch as it is written on the command line: requests x tokens of each prompt + tokens of each answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Requests.
    pub batch_size: usize,
    /// Tokens of each prompt.
    pub input_len: usize,
    /// Tokens of each answer.
    pub output_len: NonZeroU32,
}

impl fmt::Display for BatchShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch_size, input_len, output_len } = self;
        write!(formatter, "{batch_size}x{input_len}+{output_len}")
    }
}

impl FromStr for BatchShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('x').and_then(|(batch, rest)| Some((batch, rest.split_once('+')?)));
        let shape = parts.and_then(|(batch_size, (input_len, output_len))| {
            Some(Self {
                batch_size: batch_size.parse().ok()?,
                input_len: input_len.parse().ok()?,
                output_len: output_len.parse().ok()?,
            })
        });
        shape.ok_or_else(|| {
            format!("shape is `{text}`, must be as in 8x1024+64: requests x input + output tokens")
        })
    }
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
    /// Time of a step in which all sequences decode; absent for answers of one token.
    pub step_ms: Option<f64>,
    /// The requests of all batches together.
    pub requests: Figures,
    /// What the model asks of a step at least, if that can be told: it gives the figures their floor.
    pub work: Option<ModelWork>,
}

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        let shapes = self.shapes();
        for (flag, is_zero) in [
            ("batch-size", shapes.iter().any(|shape| shape.batch_size == 0)),
            ("input-len", shapes.iter().any(|shape| shape.input_len == 0)),
            ("num-iters", self.num_iters == 0),
        ] {
            if is_zero {
                bail!("--{flag} is 0, must be at least 1");
            }
        }
        Ok(())
    }

    fn shapes(&self) -> Vec<BatchShape> {
        if !self.shape.is_empty() {
            return self.shape.clone();
        }
        let mut shapes = Vec::new();
        for &batch_size in &self.batch_size {
            for &input_len in &self.input_len {
                for &output_len in &self.output_len {
                    shapes.push(BatchShape { batch_size, input_len, output_len });
                }
            }
        }
        shapes
    }
}

/// Runs every shape of batch that was asked for and prints a row of each. `work` is what the engine's model asks of a step.
///
/// # Errors
///
/// If the arguments go beyond the engine's limits, or a request fails.
pub async fn run(
    args: &Args,
    engine: &EngineHandle,
    work: Option<&ModelWork>,
) -> anyhow::Result<Vec<BatchFigures>> {
    args.check()?;
    let next_request = AtomicU64::new(0);
    let client = EngineClient::new(engine, &next_request);
    let mut report = RunReport::new("latency", engine.card().id.to_string());
    let mut shapes = Vec::new();
    // Through all shapes, so that none of them meets a prompt that is in the engine's prefix cache.
    let mut next_prompt = 0;
    for shape in args.shapes() {
        let mut figures = measure(args, client, shape, &mut next_prompt).await?;
        figures.work = work.cloned();
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
    BatchShape { batch_size, input_len, output_len }: BatchShape,
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
    let step_ms = step_ms(&samples);
    let outcome = Outcome { samples, failures: Vec::new(), elapsed: batches.iter().sum() };
    let load = format!("{batch_size} x {input_len}+{output_len}");
    let wanted = Wanted { ranks: &args.told.percentiles, objectives: &[] };
    Ok(BatchFigures {
        batch_size,
        input_len,
        output_len: output_len.get(),
        batch_ms: Summary::of(batches, &args.told.percentiles),
        step_ms,
        requests: Figures::new(load, &outcome, wanted),
        work: None,
    })
}

/// The median, over all places in all answers, of the mean time between so many tokens in a row. A single gap says little:
/// with two steps in flight, tokens may come in pairs. The median leaves out the beginning, when other prompts are still
/// computed, and the end, when other answers have ended.
fn step_ms(samples: &[Sample]) -> Option<f64> {
    const GAPS: usize = 8;
    let windows = samples.iter().flat_map(|sample| sample.gaps.windows(GAPS.min(sample.gaps.len()).max(1)));
    let mut means: Vec<f64> = windows
        .map(|window| 1e3 * window.iter().map(Duration::as_secs_f64).sum::<f64>() / window.len() as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    means.get(means.len() / 2).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_tokens_in_pairs_and_from_steps_with_prompts() {
        let sample = |gaps: &[u64]| Sample {
            gaps: gaps.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            ..Sample::default()
        };
        let mut gaps = vec![400, 400];
        gaps.extend([0, 20].repeat(16));
        assert_eq!(step_ms(&[sample(&gaps), sample(&gaps)]), Some(10.0));
        assert_eq!(step_ms(&[sample(&[4, 8])]), Some(6.0));
        assert_eq!(step_ms(&[sample(&[])]), None);
    }

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for text in ["8x1024+64", "1x1+1"] {
            assert_eq!(text.parse::<BatchShape>().expect("a shape").to_string(), text);
        }
        for text in ["", "8", "8x1024", "8x1024+0", "x1+1", "8x1024+64+1", "-1x2+3"] {
            let error = text.parse::<BatchShape>().expect_err("no shape");
            assert!(error.contains("8x1024+64"), "{error}");
        }
    }
}
