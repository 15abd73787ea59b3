//! `spillway bench throughput`: how much the engine alone serves when it is never idle, without HTTP.
//!
//! All requests are there from the beginning; no more enter than may wait, so that none is refused.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use futures::StreamExt;
use spillway_engine::EngineHandle;
use spillway_types::Prompt;

use crate::dataset::{self, Format};
use crate::figures::{Figures, Outcome, Wanted};
use crate::in_process::{EngineAsk, EngineClient};
use crate::output_args::OutputArgs;
use crate::report::{self, RunReport};
use crate::stopwatch::Stopwatch;

/// Measure how much the engine alone serves when it is never idle: requests and tokens per second.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Requests.
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroUsize::new(200).expect("not zero"))]
    pub num_requests: NonZeroUsize,
    /// Tokens of each random prompt.
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub input_len: usize,
    /// Tokens to generate for each request; a dataset's own number wins.
    #[arg(long, value_name = "TOKENS", default_value_t = NonZeroU32::new(128).expect("not zero"))]
    pub output_len: NonZeroU32,
    /// File of prompts, instead of random ones; it is begun again if it has too few.
    #[arg(long, value_name = "FILE")]
    pub dataset: Option<PathBuf>,
    /// Form of the dataset; by its name if absent: .json is sharegpt, .jsonl is jsonl, any other lines.
    #[arg(long, value_enum, requires = "dataset")]
    pub dataset_format: Option<Format>,
    /// Seed of random prompts.
    #[arg(long, default_value_t = 0)]
    pub prompt_seed: u64,
    /// What is told, and where.
    #[command(flatten)]
    pub told: OutputArgs,
}

/// Serves all requests and prints what came of them. `max_waiting` is the engine's own limit.
///
/// # Errors
///
/// If a prompt does not fit the engine's context, the dataset cannot be read, or every request failed.
pub async fn run(args: &Args, engine: &EngineHandle, max_waiting: NonZeroU32) -> anyhow::Result<Figures> {
    let next_request = AtomicU64::new(0);
    let client = EngineClient::new(engine, &next_request);
    let asks = asks(args, client)?;
    let watch = Stopwatch::start();
    let requests = futures::stream::iter(asks).map(|ask| client.complete(ask));
    let results: Vec<_> = requests.buffer_unordered(max_waiting.get() as usize).collect().await;
    let outcome = Outcome::new(results, watch.elapsed());
    let wanted = Wanted { ranks: &args.told.percentiles, objectives: &[] };
    let figures = Figures::new("all at once".to_owned(), &outcome, wanted);
    if args.told.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    let mut report = RunReport::new("throughput", engine.card().id.to_string());
    report.loads.push(figures.clone());
    report::write(&report, args.told.output.as_deref(), None)?;
    if figures.num_completed == 0 {
        bail!("all requests failed: see the kinds of failures above");
    }
    Ok(figures)
}

fn asks(args: &Args, client: EngineClient<'_>) -> anyhow::Result<Vec<EngineAsk>> {
    let count = args.num_requests.get();
    let Some(path) = &args.dataset else {
        client.check_length(args.input_len, args.output_len.get())?;
        let ask = |index| {
            let prompt = client.random_prompt(args.prompt_seed, index, args.input_len)?;
            Ok(EngineAsk { prompt, max_tokens: args.output_len })
        };
        return (0..count).map(ask).collect();
    };
    let prompts: Arc<[_]> = dataset::read(path, args.dataset_format)?.into();
    let ask = |index: usize| {
        let prompt = &prompts[index % prompts.len()];
        let max_tokens = prompt.max_tokens.and_then(NonZeroU32::new).unwrap_or(args.output_len);
        let tokens = client.tokens(&Prompt::Text(prompt.text.clone()))?;
        client
            .check_length(tokens.len(), max_tokens.get())
            .with_context(|| format!("prompt {} of {}", index % prompts.len() + 1, path.display()))?;
        Ok(EngineAsk { prompt: Prompt::Tokens(tokens), max_tokens })
    };
    (0..count).map(ask).collect()
}

fn print(figures: &Figures) {
    println!(
        "{} requests in {:.2} s, {} failed",
        figures.num_completed, figures.duration_s, figures.num_failed
    );
    println!("{:>12.2} requests/s", figures.requests_per_s);
    println!(
        "{:>12.1} prompt tokens/s ({} found in the prefix cache)",
        figures.prompt_tokens_per_s, figures.cached_tokens
    );
    println!("{:>12.1} generated tokens/s", figures.output_tokens_per_s);
    println!("{:>12.1} tokens/s in all", figures.total_tokens_per_s);
    for (kind, failure) in &figures.failures {
        println!("{:>12} x {kind}: {}", failure.count, failure.first);
    }
}
