//! `spillway route`: says where requests go, trains the model that predicts gains, and judges it.

mod explain;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_gain::{Evaluation, Example, GainModel, TrainSettings, evaluate, read_examples, train};

use crate::config::{RouteCommand, RouteEval, RouteTrain};
use report::{FileReport, Spread};

/// Decisions that are timed.
const NUM_TIMED: usize = 1000;

/// A prompt of about 500 tokens, five bytes each with its space.
const TIMED_SENTENCE: &str =
    "Explain in short how the court of appeal weighs the claim of a seller whose 12 goods were lost. ";
const TIMED_BYTES: usize = 2500;

/// Does what is asked for.
pub(super) fn run(command: &RouteCommand) -> anyhow::Result<()> {
    match command {
        RouteCommand::Explain(options) => explain::run(options),
        RouteCommand::Train(options) => run_train(options),
        RouteCommand::Eval(options) => run_eval(options),
    }
}

/// A labelled log and where it is from.
struct Log {
    path: PathBuf,
    examples: Vec<Example>,
}

fn read_logs(paths: &[PathBuf]) -> anyhow::Result<Vec<Log>> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("`{name}` cannot be read"))?;
        Ok(Log { path: path.clone(), examples: read_examples(&name, &text)? })
    };
    paths.iter().map(read).collect()
}

fn run_train(options: &RouteTrain) -> anyhow::Result<()> {
    let logs = read_logs(&options.logs)?;
    let all: Vec<Example> = logs.iter().flat_map(|log| log.examples.iter().cloned()).collect();
    let num_repeats = options.repeats as usize;
    let settings = TrainSettings { seed: options.seed, num_repeats, ..TrainSettings::default() };
    println!("training on {} prompts", all.len());
    let trained = train(&all, settings)?;
    let bytes = trained.model.to_bytes();
    replace(&options.out, &bytes)?;
    println!("{}: {} bytes", options.out.display(), bytes.len());
    println!("on prompts not seen ({} folds, {num_repeats} times):", settings.num_folds);
    let mut start = 0;
    for log in &logs {
        let end = start + log.examples.len();
        let judge = |scores: &Vec<f32>| evaluate(&log.examples, &scores[start..end]);
        let evaluations = trained.held_out.iter().map(judge).collect::<Result<Vec<Evaluation>, _>>();
        start = end;
        match evaluations {
            Ok(evaluations) => println!("{}: {}", log.path.display(), Spread(&evaluations)),
            // A log without a gap is no reason to throw the training away.
            Err(error) => println!("{}: {error}", log.path.display()),
        }
    }
    Ok(())
}

/// Writes `bytes` beside `path` and then moves them there, so that a reader sees the old file or the new one, whole.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.with_context(|| format!("`{}` cannot be written", path.display()))
}

fn run_eval(options: &RouteEval) -> anyhow::Result<()> {
    let model = read_model(options.model.as_deref())?;
    let logs = read_logs(&options.logs)?;
    let reports = logs.iter().map(|log| judge(&model, log)).collect::<anyhow::Result<Vec<FileReport>>>()?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        print!("{}", report::table(&reports));
    }
    if options.time {
        let times = time_decisions(&model);
        let [median, slow] =
            [NUM_TIMED / 2, NUM_TIMED * 99 / 100].map(|rank| times[rank].as_secs_f64() * 1e6);
        eprintln!("one decision, {TIMED_BYTES} bytes of text: {median:.0} us, 99 of 100 under {slow:.0} us");
    }
    Ok(())
}

fn read_model(path: Option<&Path>) -> anyhow::Result<GainModel> {
    let Some(path) = path else { return Ok(GainModel::shipped()) };
    let bytes = fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    GainModel::from_bytes(&bytes).with_context(|| format!("--model {}", path.display()))
}

fn judge(model: &GainModel, log: &Log) -> anyhow::Result<FileReport> {
    let scores: Vec<f32> = log.examples.iter().map(|example| model.gain(&example.prompt)).collect();
    let file = log.path.display().to_string();
    FileReport::new(file.clone(), &log.examples, &scores).with_context(|| format!("`{file}`"))
}

/// How long each of many decisions took, in ascending order.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock itself")]
fn time_decisions(model: &GainModel) -> Vec<Duration> {
    let mut prompt = TIMED_SENTENCE.repeat(TIMED_BYTES.div_ceil(TIMED_SENTENCE.len()));
    prompt.truncate(TIMED_BYTES);
    let mut times = Vec::with_capacity(NUM_TIMED);
    for _ in 0..NUM_TIMED {
        let start = Instant::now();
        std::hint::black_box(model.gain(std::hint::black_box(&prompt)));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests;
