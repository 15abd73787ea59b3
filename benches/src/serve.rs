//! `spillway bench serve`: sends loads of completions to a server and reports what its clients saw.
//!
//! Closed loop (`--concurrency`): that many clients, each sends its next request when the last one ended. Open loop
//! (`--request-rate`): requests come at times planned beforehand, whether the server keeps up or not, and each one's times
//! count from the planned moment, so that neither a slow server nor a slow client hides waiting time.

mod args;
mod client;
mod drive;
mod load;
mod reading;

pub use args::{Args, Arrivals, Endpoint, RequestRate};

use std::sync::Arc;

use anyhow::{Context, bail};

use crate::dataset::{self, Prompt};
use crate::figures::{Figures, Wanted};
use crate::random_words::RandomWords;
use crate::report::{self, RunReport};
use crate::stats::Summary;

use client::Client;
use load::Load;

/// Runs every load that was asked for, one after the other, and prints a row of each.
///
/// # Errors
///
/// If the server cannot be reached at all, the arguments contradict each other, or every request failed. Single requests
/// that fail are counted in the report.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.check()?;
    let mut source = Source::new(&args)?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => client::first_model(&args)
            .await
            .context("the model's name could not be read from /v1/models; give it with --model")?,
    };
    let client = Arc::new(Client::new(&args, &model)?);
    let wanted = Wanted { ranks: &args.told.percentiles, objectives: &args.goodput };
    let mut report = RunReport::new("serve", model);
    report.server = Some(args.base_url.clone());
    report.server_version = client::version(&args).await;
    if !args.told.json {
        print_heading(&report);
    }
    for (load_idx, load) in Load::all(&args).into_iter().enumerate() {
        for prompt in warm_ups(load_idx as u64, &args) {
            client
                .complete(&prompt, std::time::Duration::ZERO)
                .await
                .context("the warm-up request failed")?;
        }
        let prompts = source.prompts(load_idx as u64, load.num_requests(&args), &args);
        let outcome = drive::run(&client, prompts, load, &args).await?;
        let figures = Figures::new(load.to_string(), &outcome, wanted);
        if args.told.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            print_row(&figures);
        }
        report.loads.push(figures);
    }
    report::write(&report, args.told.output.as_deref(), args.report.as_deref())?;
    if report.loads.iter().all(|figures| figures.num_completed == 0) {
        bail!("all requests failed: see the kinds of failures above");
    }
    Ok(())
}

/// Where prompts come from.
enum Source {
    Random,
    /// The next prompt to take, and all of them.
    File {
        next: usize,
        prompts: Vec<Prompt>,
    },
}

impl Source {
    fn new(args: &Args) -> anyhow::Result<Self> {
        Ok(match &args.dataset {
            None => Self::Random,
            Some(path) => Self::File { next: 0, prompts: dataset::read(path, args.dataset_format)? },
        })
    }

    fn prompts(&mut self, load_idx: u64, count: usize, args: &Args) -> Vec<Prompt> {
        match self {
            Self::Random => {
                let words = RandomWords::new(args.seed, load_idx, args.shape());
                (0..count).map(|index| random_prompt(&words, index)).collect()
            }
            Self::File { next, prompts } => {
                let taken = prompts.iter().cycle().skip(*next % prompts.len()).take(count).cloned().collect();
                *next += count;
                taken
            }
        }
    }
}

/// Random even with a dataset, so that they warm none of its prompts up.
fn warm_ups(load_idx: u64, args: &Args) -> Vec<Prompt> {
    let words = RandomWords::warm_up(args.seed, load_idx, args.shape());
    (0..args.num_warmups).map(|index| random_prompt(&words, index)).collect()
}

fn random_prompt(words: &RandomWords, index: usize) -> Prompt {
    Prompt { text: words.get(index), max_tokens: None }
}

fn print_heading(report: &RunReport) {
    let server = report.server.as_deref().unwrap_or_default();
    println!("{server}: model {}, latencies in ms at the percentiles asked for", report.model);
    println!(
        "{:>10} {:>9} {:>6} {:>8} {:>10} {:>10} {:>20} {:>20} {:>20}",
        "load",
        "requests",
        "failed",
        "req/s",
        "out tok/s",
        "all tok/s",
        "first token",
        "inter-token",
        "end to end"
    );
}

fn print_row(figures: &Figures) {
    println!(
        "{:>10} {:>9} {:>6} {:>8.2} {:>10.1} {:>10.1} {:>20} {:>20} {:>20}",
        figures.load,
        figures.num_completed,
        figures.num_failed,
        figures.requests_per_s,
        figures.output_tokens_per_s,
        figures.total_tokens_per_s,
        Summary::cell(figures.ttft_ms.as_ref()),
        Summary::cell(figures.itl_ms.as_ref()),
        Summary::cell(figures.e2e_ms.as_ref())
    );
    if let Some(goodput) = &figures.goodput {
        let objectives = goodput.objectives.join(" ");
        println!(
            "{:>10} {} good of {}, {:.2} a second, by {objectives}",
            "", goodput.num_good, figures.num_requests, goodput.requests_per_s
        );
    }
    for (kind, failure) in &figures.failures {
        println!("{:>10} {} x {kind}: {}", "", failure.count, failure.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_take_turns_through_a_dataset() {
        let prompt = |text: &str| Prompt { text: text.to_owned(), max_tokens: None };
        let mut source = Source::File { next: 0, prompts: ["a", "b", "c"].map(prompt).to_vec() };
        let args = <Cli as clap::Parser>::parse_from(["bench"]).args;
        let mut texts =
            |count| source.prompts(0, count, &args).into_iter().map(|prompt| prompt.text).collect::<String>();
        assert_eq!([texts(2), texts(2), texts(4)], ["ab", "ca", "bcab"]);
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }
}
