//! Runs a written trace through a real [`Scheduler`] and prints its decisions.
//!
//! The one place of these tests that calls the scheduler's API; it checks all invariants after every line.
//!
//! ```text
//! pool blocks=2 block_size=4 depth=1 budget=64 seqs=8 max_len=1000 waiting=100 ageing=60 chunk=16 cache=off
//! submit a prompt=4 shared=2 max=3 n=2 priority=low salt=x    prompts have only their first `shared` tokens in common
//! plan              plans a step and prints it
//! done b=end c=none d=x3   completes the oldest step; rows bring one token each, unless told otherwise
//! step a=end        both
//! fail 3            step 3 breaks
//! abort a | finish a.1 | wait 60 | stats | queued | table a
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use spillway_scheduler::{
    PrefixUse, RowResult, ScheduledRow, Scheduler, SchedulerConfig, SchedulerOutput, SequenceUpdate,
    SubmitRequest,
};
use spillway_types::{BlockSize, CacheSalt, FinishReason, Priority, RequestId, SeqId, TokenId};

type Failure = Box<dyn std::error::Error>;

/// The token that ends every sequence.
const END: TokenId = TokenId(2);
/// The column of `free`.
const FREE_COLUMN: usize = 37;

/// Runs every line of `trace`; the first one describes the pool.
pub(crate) fn run(trace: &str) -> Result<String, Failure> {
    let mut lines = trace.lines().map(str::trim).filter(|line| !line.is_empty());
    let pool = Words::parse(lines.next().ok_or("a trace begins with a pool")?);
    let mut run = Run::new(&pool)?;
    for line in lines {
        run.line(&Words::parse(line)).map_err(|error| format!("{line}: {error}"))?;
        run.scheduler.check().map_err(|error| format!("after {line}: {error}"))?;
    }
    Ok(run.printed)
}

/// One line: a verb, plain words, and `key=value` words.
struct Words<'a> {
    verb: &'a str,
    plain: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let (pairs, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let values = pairs.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { verb, plain, values }
    }

    fn value<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::error::Error + 'static,
    {
        self.values.get(key).map(|word| word.parse::<T>()).transpose().map_err(Into::into)
    }

    fn or<T: FromStr>(&self, key: &str, default: T) -> Result<T, Failure>
    where
        T::Err: std::error::Error + 'static,
    {
        Ok(self.value(key)?.unwrap_or(default))
    }

    fn first(&self) -> Result<&'a str, Failure> {
        self.plain.first().copied().ok_or_else(|| "a name is missing".into())
    }
}

struct Run {
    scheduler: Scheduler,
    now: Duration,
    requests: HashMap<String, RequestId>,
    names: HashMap<SeqId, String>,
    prompt_lens: HashMap<SeqId, u32>,
    in_flight: Vec<SchedulerOutput>,
    printed: String,
}

impl Run {
    fn new(pool: &Words<'_>) -> Result<Self, Failure> {
        let count = |key, default: u32| -> Result<NonZeroU32, Failure> {
            NonZeroU32::new(pool.or(key, default)?).ok_or_else(|| "a count is zero".into())
        };
        let config = SchedulerConfig {
            block_size: BlockSize::try_from(pool.or("block_size", 4)?)?,
            num_blocks: count("blocks", 100)?,
            max_num_batched_tokens: count("budget", 64)?,
            max_num_seqs: count("seqs", 8)?,
            max_waiting: count("waiting", 100)?,
            max_model_len: count("max_len", 1000)?,
            max_in_flight_steps: count("depth", 1)?,
            prefix_caching: pool.or("cache", "on".to_owned())? == "on",
            ageing_interval: Duration::from_secs(pool.or("ageing", 60)?),
            long_prefill_threshold: pool.value("chunk")?,
        };
        Ok(Self {
            scheduler: Scheduler::new(config)?,
            now: Duration::ZERO,
            requests: HashMap::new(),
            names: HashMap::new(),
            prompt_lens: HashMap::new(),
            in_flight: Vec::new(),
            printed: String::new(),
        })
    }

    fn line(&mut self, words: &Words<'_>) -> Result<(), Failure> {
        match words.verb {
            "submit" => self.submit(words)?,
            "plan" => self.plan(),
            "done" => self.done(words)?,
            "step" => {
                self.plan();
                self.done(words)?;
            }
            "fail" => self.fail(words)?,
            "abort" => {
                let request = self.requests.get(words.first()?).ok_or("no such request")?;
                self.scheduler.abort(*request);
            }
            "finish" => self.scheduler.finish(self.seq_id(words.first()?)?),
            "wait" => self.now += Duration::from_secs(words.first()?.parse()?),
            "stats" => self.stats(),
            "queued" => {
                let tokens = self.scheduler.queued_prompt_tokens();
                self.print(&format!("queued {tokens}"));
            }
            "table" => {
                let name = words.first()?;
                let table = self.scheduler.block_table(self.seq_id(name)?).map(<[_]>::to_vec);
                let blocks = table.map(|blocks| blocks.iter().map(|block| block.0).collect::<Vec<_>>());
                self.print(&format!("table {name}: {blocks:?}"));
            }
            other => return Err(format!("no such verb: {other}").into()),
        }
        Ok(())
    }

    fn submit(&mut self, words: &Words<'_>) -> Result<(), Failure> {
        let name = words.first()?;
        let request_id = RequestId(self.requests.len() as u64);
        let shared: u32 = words.or("shared", 0)?;
        let prompt_len: u32 = words.or("prompt", 1)?;
        let own = (request_id.0 as u32 + 1) * 100_000;
        let prompt = (0..prompt_len).map(|at| TokenId(at + if at < shared { 1000 } else { own })).collect();
        let request = SubmitRequest {
            request_id,
            prompt,
            n: words.value("n")?.unwrap_or(NonZeroU32::MIN),
            max_tokens: words.value("max")?,
            end_tokens: Arc::from([END]),
            priority: match words.values.get("priority") {
                None | Some(&"normal") => Priority::Normal,
                Some(&"low") => Priority::Low,
                Some(&"high") => Priority::High,
                Some(other) => return Err(format!("no such class: {other}").into()),
            },
            cache_salt: words.values.get("salt").map(|salt| CacheSalt::new(*salt)),
            prefix: match words.values.get("prefix") {
                None | Some(&"reuse") => PrefixUse::Reuse,
                Some(&"compute") => PrefixUse::ComputeAll,
                Some(other) => return Err(format!("no such use of a prefix: {other}").into()),
            },
        };
        match self.scheduler.submit(request, self.now) {
            Err(error) => self.print(&format!("refuse {name}: {error}")),
            Ok(seq_ids) => {
                self.requests.insert(name.to_owned(), request_id);
                for (choice, seq_id) in seq_ids.into_iter().enumerate() {
                    let name = if choice == 0 { name.to_owned() } else { format!("{name}.{choice}") };
                    self.names.insert(seq_id, name);
                    self.prompt_lens.insert(seq_id, prompt_len);
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self) {
        let Some(output) = self.scheduler.schedule(self.now) else {
            self.print("nothing to plan");
            return;
        };
        let mut parts = Vec::new();
        if !output.preempted.is_empty() {
            let names: Vec<&str> = output.preempted.iter().map(|id| self.names[id].as_str()).collect();
            parts.push(format!("preempt {}", names.join(" ")));
        }
        let is_decode = |row: &&ScheduledRow| row.samples && row.start >= self.prompt_lens[&row.seq_id];
        let (decodes, prefills): (Vec<_>, Vec<_>) = output.rows.iter().partition(is_decode);
        for (what, rows) in [("prefill", prefills), ("decode", decodes)] {
            if !rows.is_empty() {
                let rows: Vec<String> = rows.iter().map(|row| self.describe_row(row, &output)).collect();
                parts.push(format!("{what} {}", rows.join(" ")));
            }
        }
        let planned = format!("step {}: {}", output.step, parts.join("; "));
        let stats = self.scheduler.stats();
        let free = stats.num_blocks - stats.used_blocks;
        let gap = FREE_COLUMN.saturating_sub(planned.len()).max(4);
        self.print(&format!("{planned}{:gap$}free {free}", ""));
        self.in_flight.push(output);
    }

    fn describe_row(&self, row: &ScheduledRow, output: &SchedulerOutput) -> String {
        let mut text = format!("{}[{}..{}]", self.names[&row.seq_id], row.start, row.end());
        if let Some(by_row) = row.sampled_by_row {
            let _ = write!(text, "<-row{by_row}");
        }
        if let Some(admission) = output.admitted.iter().find(|admission| admission.seq_id == row.seq_id) {
            if admission.resumed {
                text.push_str(" resumed");
            }
            if admission.cached_tokens > 0 {
                let _ = write!(text, " cached {}", admission.cached_tokens);
            }
        }
        text
    }

    fn done(&mut self, words: &Words<'_>) -> Result<(), Failure> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        let output = self.in_flight.remove(0);
        let bring = |row: &ScheduledRow| -> Result<RowResult, Failure> {
            if !row.samples {
                return Ok(RowResult::default());
            }
            match words.values.get(self.names[&row.seq_id].as_str()) {
                None => Ok(RowResult::one(TokenId(7))),
                Some(&"end") => Ok(RowResult::one(END)),
                Some(&"none") => Ok(RowResult::default()),
                Some(many) => {
                    let count: u32 = many.trim_start_matches('x').parse()?;
                    Ok((0..count).map(|_| TokenId(7)).collect())
                }
            }
        };
        let results = output.rows.iter().map(bring).collect::<Result<Vec<_>, _>>()?;
        let updates = self.scheduler.complete(output.step, &results);
        self.print_updates(&output, &updates);
        self.scheduler.recycle(output);
        Ok(())
    }

    /// Prints what is not usual: ends, and rows that brought another number of tokens than one.
    fn print_updates(&mut self, output: &SchedulerOutput, updates: &[SequenceUpdate]) {
        let mut told = Vec::new();
        for update in updates {
            assert_eq!(output.rows[update.row as usize].seq_id, update.seq_id, "an update names its row");
            let name = &self.names[&update.seq_id];
            if update.accepted != (0..1) {
                told.push(format!("{name} takes tokens {:?}", update.accepted));
            }
            if let Some(reason) = update.finish {
                told.push(format!("{name} ends ({})", reason.as_str()));
            }
        }
        for row in output.rows.iter().filter(|row| row.samples) {
            if !updates.iter().any(|update| update.seq_id == row.seq_id) {
                told.push(format!("{} takes nothing", self.names[&row.seq_id]));
            }
        }
        if !told.is_empty() {
            self.print(&format!("done {}: {}", output.step, told.join(", ")));
        }
    }

    fn fail(&mut self, words: &Words<'_>) -> Result<(), Failure> {
        let step: u64 = words.first()?.parse()?;
        let at = self.in_flight.iter().position(|output| output.step.0 == step);
        let output = self.in_flight.remove(at.ok_or("no such step is in flight")?);
        let failed = self.scheduler.fail(output.step);
        let names: Vec<&str> = failed.iter().map(|id| self.names[id].as_str()).collect();
        let line =
            format!("fail {}: {} end ({})", output.step, names.join(" "), FinishReason::Failed.as_str());
        self.print(&line);
        Ok(())
    }

    fn stats(&mut self) {
        let stats = self.scheduler.stats();
        self.print(&format!(
            "running {} waiting {} used {} cached {} preemptions {} prefix {}/{} idle {}",
            stats.num_running,
            stats.num_waiting,
            stats.used_blocks,
            stats.cached_blocks,
            stats.num_preemptions,
            stats.prefix_hit_tokens,
            stats.prefix_query_tokens,
            self.scheduler.is_idle(),
        ));
    }

    fn seq_id(&self, name: &str) -> Result<SeqId, Failure> {
        let found = self.names.iter().find(|(_, known)| *known == name);
        found.map(|(seq_id, _)| *seq_id).ok_or_else(|| "no such sequence".into())
    }

    fn print(&mut self, line: &str) {
        self.printed.push_str(line);
        self.printed.push('\n');
    }
}
