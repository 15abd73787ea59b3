//! One client: sends planned requests one after the other, and judges every answer.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use spillway_tests::{Client, Events, Reply};
use tokio::time::Instant;

use crate::plan::{Body, Ending, Plan, Planner};

/// A question whose answer is known.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    request: Value,
    answer: Vec<String>,
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many requests came to each end.
    pub(crate) ends: BTreeMap<End, u64>,
    /// What must not be: request and answer.
    pub(crate) faults: Vec<String>,
}

/// How a request ended, if it ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A whole answer, in one body.
    Whole,
    /// A whole answer, as a stream.
    Streamed,
    /// The known answer to the known question.
    Canary,
    /// The client hung up before the end.
    HungUp,
    /// It was malformed, and refused.
    Malformed,
    /// The queue was full.
    QueueFull,
}

/// One client.
pub(crate) struct Driver {
    client: Client,
    canary: Canary,
    planner: Planner,
    random: StdRng,
}

impl Canary {
    /// Asks the question once, while nobody else asks anything.
    pub(crate) async fn learn(client: &Client) -> anyhow::Result<Self> {
        let request = json!({
            "prompt": "Once upon a time the village by the river", "max_tokens": 24, "temperature": 0, "ignore_eos": true,
        });
        let reply = client.post("/v1/completions", &request).await?;
        ensure!(reply.status == 200, "status {}: {}", reply.status, reply.text);
        Ok(Self { answer: reply.texts(), request })
    }
}

impl Tally {
    /// Adds the tally of another client.
    pub(crate) fn add(&mut self, other: Self) {
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.faults.extend(other.faults);
    }
}

impl Driver {
    /// A client whose choices follow from `seed`.
    pub(crate) fn new(client: Client, canary: Canary, planner: Planner, seed: u64) -> Self {
        Self { client, canary, planner, random: StdRng::seed_from_u64(seed) }
    }

    /// Sends requests until it is time; the last one is read to its end.
    pub(crate) async fn run(mut self, until: Instant) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < until {
            let (what, end) = if self.random.random_ratio(1, 20) {
                ("the canary".to_owned(), self.ask_canary().await)
            } else {
                let plan = self.planner.next(&mut self.random);
                (format!("{plan:?}"), self.carry_out(&plan).await)
            };
            match end {
                Ok(end) => *tally.ends.entry(end).or_default() += 1,
                Err(error) => tally.faults.push(format!("{error:#}\n    {what}")),
            }
        }
        tally
    }

    async fn ask_canary(&self) -> anyhow::Result<End> {
        let reply = self.client.post("/v1/completions", &self.canary.request).await?;
        if reply.status != 200 {
            return refused(&reply);
        }
        let texts = reply.texts();
        ensure!(texts == self.canary.answer, "{texts:?} instead of {:?}", self.canary.answer);
        Ok(End::Canary)
    }

    async fn carry_out(&self, plan: &Plan) -> anyhow::Result<End> {
        match plan.ending {
            Ending::ReadAll => self.send(plan).await,
            // Dropping the request in the middle closes its connection.
            Ending::HangUpAfter(patience) => {
                tokio::time::timeout(patience, self.send(plan)).await.unwrap_or(Ok(End::HungUp))
            }
        }
    }

    async fn send(&self, plan: &Plan) -> anyhow::Result<End> {
        match &plan.body {
            Body::Whole(body) => {
                let reply = self.client.post(plan.path, body).await?;
                if reply.status == 200 { whole(&reply, body) } else { refused(&reply) }
            }
            Body::Stream(body) => self.stream(plan.path, body).await,
            Body::Malformed(text) => {
                let request =
                    self.client.request(Method::POST, plan.path).header("content-type", "application/json");
                let reply = Reply::read(request.body(text.clone())).await?;
                ensure!(
                    (400..500).contains(&reply.status),
                    "malformed, but {}: {}",
                    reply.status,
                    reply.text
                );
                ensure!(reply.json()["error"]["message"].is_string(), "no message in {}", reply.text);
                Ok(End::Malformed)
            }
        }
    }

    async fn stream(&self, path: &str, body: &Value) -> anyhow::Result<End> {
        let events = match Events::open(self.client.request(Method::POST, path).json(body)).await? {
            Ok(events) => events,
            Err(reply) => return refused(&reply),
        };
        let streamed = events.collect().await?;
        ensure!(streamed.error.is_none(), "the stream ended with {:?}", streamed.error);
        ensure!(streamed.choices.len() == num_choices(body), "{} choices", streamed.choices.len());
        for (text, reason) in streamed.choices.values() {
            check_choice(text, reason.as_deref(), body)?;
        }
        let asked = body["stream_options"]["include_usage"] == true;
        ensure!(streamed.usage.is_some() == asked, "usage is {:?}", streamed.usage);
        Ok(End::Streamed)
    }
}

fn refused(reply: &Reply) -> anyhow::Result<End> {
    if reply.status == 429 {
        reply.header("retry-after").context("429 without Retry-After")?;
        return Ok(End::QueueFull);
    }
    bail!("status {}: {}", reply.status, reply.text)
}

fn whole(reply: &Reply, body: &Value) -> anyhow::Result<End> {
    let answer = reply.json();
    let choices = answer["choices"].as_array().with_context(|| format!("no choices in {answer}"))?;
    ensure!(choices.len() == num_choices(body), "{} choices", choices.len());
    for (choice, text) in choices.iter().zip(reply.texts()) {
        check_choice(&text, choice["finish_reason"].as_str(), body)?;
    }
    let most = body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()).unwrap_or(u64::MAX);
    // All choices are counted, also those that were not the best.
    let num_generated = num_choices(body) as u64 * body["best_of"].as_u64().unwrap_or(1);
    let most = most.saturating_mul(num_generated);
    let generated = reply.usage("/completion_tokens");
    ensure!(generated <= most, "{generated} tokens, at most {most} were asked for");
    Ok(End::Whole)
}

fn check_choice(text: &str, reason: Option<&str>, body: &Value) -> anyhow::Result<()> {
    ensure!(matches!(reason, Some("stop" | "length")), "ended with {reason:?}");
    // Where these are asked for, a stop string may stand in the text.
    if body["echo"] == true || body["include_stop_str_in_output"] == true || body["min_tokens"].is_u64() {
        return Ok(());
    }
    for stop in body["stop"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ensure!(!text.contains(stop), "stop string {stop:?} is in {text:?}");
    }
    Ok(())
}

fn num_choices(body: &Value) -> usize {
    let n = body["n"].as_u64().unwrap_or(1) as usize;
    let prompts = match body["prompt"].as_array() {
        Some(prompts) if !prompts.iter().all(Value::is_u64) => prompts.len(),
        _ => 1,
    };
    n * prompts
}
