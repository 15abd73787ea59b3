//! `spillway bench serve`: sends a load of completions to a server and reports what its clients saw.
//!
//! Closed loop (`--concurrency`): that many clients, each sends its next request when the last one ended. Open loop
//! (`--rate`): requests come at random times, whether the server keeps up or not.

mod args;
mod client;
mod drive;
mod prompts;
mod report;
mod stopwatch;

pub use args::Args;
pub use report::{Percentiles, Report};

use std::sync::Arc;

use anyhow::Context;

use client::Client;
use drive::Plan;
use prompts::Prompts;

/// Runs every load level that was asked for, one after the other, and prints a report of each.
///
/// # Errors
///
/// If the server cannot be reached at all, or the arguments contradict each other. Requests that fail are counted in
/// the report.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.check()?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => client::first_model(&args.url, args.api_key.as_deref())
            .await
            .context("the model's name could not be read from /v1/models; give it with --model")?,
    };
    let client = Arc::new(Client::new(&args, &model)?);
    let mut is_first = true;
    for plan in Plan::levels(&args) {
        let prompts = Prompts::new(&args, plan.level_idx());
        if args.num_warmups > 0 {
            let warmups = Prompts::warmups(&args, plan.level_idx());
            drive::warm_up(&client, &warmups, args.num_warmups).await?;
        }
        let outcome = drive::run(&client, &prompts, &plan, &args).await;
        let report = Report::new(&args.url, &model, &plan, &outcome);
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            report.print_row(is_first);
        }
        is_first = false;
    }
    Ok(())
}
