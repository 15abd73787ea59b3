//! A model on the GPU against the same model on the CPU in f32, by our code and by candle's, and by
//! candle's on the same GPU where this build has that: the probabilities of a fixed text, and a greedy answer.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use spillway_kernels::{CpuOptions, Device};
use spillway_models::{
    BatchRow, CandleDevice, DtypePolicy, ExecutorKind, ForwardBatch, InputToken, KvCache, KvCacheType,
    LoadOptions, ModelError, ModelRunner, ModelSource, RowOutput, RowSampling, RowScoring, WeightsKind, load,
};
use spillway_text::{Ends, Tokenizer};
use spillway_types::{BlockId, BlockSize, Sampling, ScoredToken, Seed, SeqId, TokenId, TopLogprobs};

use crate::model_text::{self, MissingTokenizer};

/// What both predict.
const TEXT: &str = "A spillway is a structure that lets water out of a dam or a levee in a controlled way. It \
    ensures that the water does not flow over the top and damage or destroy the dam. Floodgates and fuse plugs may be \
    built into a spillway to regulate how much flows and how high the reservoir stands. The word also means the channel \
    by which the water that is not needed goes round the dam, down to the river below.";
/// Tokens of the greedy answer.
const ANSWER_TOKENS: u32 = 32;
/// Longest sequence, text and answer together.
const CONTEXT_TOKENS: u32 = 512;
/// The largest mean of `|log p - log p'|` that passes, of the text and of the answer as far as both give the same: activations
/// between the GPU's ops have 8 bits of mantissa.
const MAX_MEAN_DIFFERENCE: f64 = 0.05;
/// Where greedy answers part, the reference must have found the GPU's token nearly as likely as its own: this far apart
/// in log-probability at most. Decodes are judged by it, for the text is scored in one prefill.
const MAX_PARTING: f64 = 1.0;

/// The GPU beside one reference.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Whose results it is compared with.
    reference: &'static str,
    /// How far apart they are, or why the reference does not compute this model.
    outcome: Result<Outcome, ModelError>,
}

impl Comparison {
    /// Whether the GPU computes this model. A reference that does not serve it says nothing.
    pub(super) fn is_ok(&self) -> bool {
        self.outcome.as_ref().map_or(true, Outcome::is_ok)
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Value {
        match &self.outcome {
            Ok(outcome) => json!({
                "reference": self.reference,
                "tokens": outcome.num_scored,
                "mean_difference": outcome.mean_difference,
                "max_difference": outcome.max_difference,
                "equal_tokens": outcome.num_equal,
                "answer_tokens": ANSWER_TOKENS,
                "answer_difference": outcome.answer_difference,
                "parting": outcome.parting,
                "ok": outcome.is_ok(),
            }),
            Err(error) => json!({ "reference": self.reference, "not_compared": error.to_string() }),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, outcome } = self;
        match outcome {
            Ok(outcome) => write!(formatter, "with {reference}: {outcome}"),
            Err(error) => write!(formatter, "with {reference}: not compared, {error}"),
        }
    }
}

/// How far apart they are.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// Tokens scored.
    num_scored: usize,
    /// Mean and largest `|log p - log p'|`.
    mean_difference: f64,
    max_difference: f64,
    /// Equal tokens at the beginning of the greedy answers.
    num_equal: usize,
    /// Mean difference of these tokens' log-probabilities: 0 if there are none.
    answer_difference: f64,
    /// How much less likely than its own token the reference finds the GPU's where they part: 0 if they never do, and
    /// infinite for a token that is not among its likeliest.
    parting: f64,
}

impl Outcome {
    /// Whether the GPU computes this model.
    fn is_ok(&self) -> bool {
        let means = [self.mean_difference, self.answer_difference];
        means.iter().all(|mean| *mean <= MAX_MEAN_DIFFERENCE) && self.parting <= MAX_PARTING
    }

    fn new(cpu: &Told, gpu: &Told) -> Self {
        let differences = cpu.logprobs.iter().zip(&gpu.logprobs);
        let differences: Vec<f64> =
            differences.map(|(cpu, gpu)| (f64::from(*cpu) - f64::from(*gpu)).abs()).collect();
        let is_equal = |(cpu, gpu): &(&ScoredToken, &ScoredToken)| cpu.token == gpu.token;
        let num_equal = cpu.answer.iter().zip(&gpu.answer).take_while(is_equal).count();
        let answers = cpu.answer.iter().zip(&gpu.answer).take(num_equal);
        let answer_differences = answers.map(|(cpu, gpu)| f64::from(cpu.logprob) - f64::from(gpu.logprob));
        let answer_difference = answer_differences.map(f64::abs).sum::<f64>() / num_equal.max(1) as f64;
        let parting = cpu.answer.get(num_equal).zip(gpu.answer.get(num_equal));
        Self {
            num_scored: differences.len(),
            mean_difference: differences.iter().sum::<f64>() / differences.len() as f64,
            max_difference: differences.iter().copied().fold(0.0, f64::max),
            num_equal,
            answer_difference,
            parting: parting.map_or(0.0, |(cpu, gpu)| less_likely(cpu, gpu.token)),
        }
    }
}

/// How much less likely than the token that was chosen another one was, by log-probability.
fn less_likely(chosen: &ScoredToken, other: TokenId) -> f64 {
    let likeliest = chosen.ranking.iter().flat_map(|ranking| &ranking.top);
    let found = likeliest.filter(|top| top.token == other).map(|top| f64::from(top.logprob)).next();
    found.map_or(f64::INFINITY, |logprob| f64::from(chosen.logprob) - logprob)
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_scored, mean_difference, max_difference, num_equal, answer_difference, parting } =
            self;
        let verdict = if self.is_ok() { "ok" } else { "FAILED" };
        write!(
            formatter,
            "log-probabilities of {num_scored} tokens: mean difference {mean_difference:.5}, limit {MAX_MEAN_DIFFERENCE}, \
             largest {max_difference:.5}; greedy answers: the first {num_equal} of {ANSWER_TOKENS} tokens agree, mean \
             difference {answer_difference:.5}, and part by {parting:.3}, limit {MAX_PARTING}: {verdict}"
        )
    }
}

/// Computes the text on all of them.
pub(super) fn compare(model: &Path, gpu: Device, ordinal: usize) -> anyhow::Result<Vec<Comparison>> {
    let source = ModelSource::from_path(model)?;
    let told = Subject::load(&source, &gpu, DtypePolicy::Auto, ExecutorKind::Native)?.tell()?;
    // It has most of the memory, and candle takes its own.
    drop(gpu);
    let cpu = Device::cpu(&CpuOptions::default())?;
    let with = |reference, executor| {
        let outcome = match Subject::load(&source, &cpu, DtypePolicy::F32, executor) {
            Ok(subject) => Ok(Outcome::new(&subject.tell()?, &told)),
            Err(error) => match error.downcast::<ModelError>()? {
                // It knows few architectures, and needs libraries that a node may lack.
                error @ (ModelError::Unsupported { .. } | ModelError::CandleDevice { .. })
                    if executor != ExecutorKind::Native =>
                {
                    Err(error)
                }
                error => return Err(error.into()),
            },
        };
        anyhow::Ok(Comparison { reference, outcome })
    };
    let ours = with("the CPU in f32", ExecutorKind::Native)?;
    let theirs = with("candle on the CPU in f32", ExecutorKind::Candle(CandleDevice::Cpu))?;
    let mut all = vec![ours, theirs];
    if cfg!(feature = "candle-cuda") {
        all.push(with("candle on the GPU in f32", ExecutorKind::Candle(CandleDevice::Cuda { ordinal }))?);
    }
    Ok(all)
}

/// A model on one of the devices.
struct Subject {
    runner: ModelRunner,
    tokenizer: Tokenizer,
    num_blocks: u32,
}

/// What it says.
#[derive(Debug, PartialEq)]
struct Told {
    logprobs: Vec<f32>,
    answer: Vec<ScoredToken>,
}

impl Subject {
    fn load(
        source: &ModelSource,
        device: &Device,
        dtype: DtypePolicy,
        executor: ExecutorKind,
    ) -> anyhow::Result<Self> {
        let options = LoadOptions {
            device: device.clone(),
            dtype,
            quantisation: None,
            executor,
            weights: WeightsKind::File,
            kv_cache: KvCacheType::Auto,
            max_num_batched_tokens: CONTEXT_TOKENS,
            max_num_seqs: 1,
            max_model_len: Some(CONTEXT_TOKENS),
        };
        let loaded = load(source, &options)?;
        let text = model_text::build(loaded.text, MissingTokenizer::Refuse)?;
        let block_size = BlockSize::try_from(16)?;
        let num_blocks = block_size.blocks_for(CONTEXT_TOKENS);
        let kv = KvCache::new(device, &loaded.kv_layout, block_size, num_blocks)?;
        let runner = ModelRunner::new(loaded.model, kv, loaded.runner_limits);
        Ok(Self { runner, tokenizer: text.tokenizer, num_blocks })
    }

    /// Scores the text in one step, then goes on with it token by token.
    fn tell(mut self) -> anyhow::Result<Told> {
        let mut text = self.tokenizer.encode_text(TEXT, Ends::Add)?;
        text.truncate((CONTEXT_TOKENS - ANSWER_TOKENS) as usize);
        let targets = text[1..].to_vec();
        let RowOutput { scored, sampled } = self.step(&text, 0, targets)?;
        let mut answer = sampled;
        while let Some(last) = answer.last().map(|sampled| sampled.token)
            && (answer.len() as u32) < ANSWER_TOKENS
        {
            let start = (text.len() + answer.len()) as u32 - 1;
            let output = self.step(&[last], start, Vec::new())?;
            answer.extend(output.sampled);
        }
        Ok(Told { logprobs: scored.iter().map(|scored| scored.logprob).collect(), answer })
    }

    /// Computes tokens from position `start` on, scores `targets`, and chooses the most likely next token.
    fn step(&mut self, tokens: &[TokenId], start: u32, targets: Vec<TokenId>) -> anyhow::Result<RowOutput> {
        let num_tokens = tokens.len() as u32;
        let end = start + num_tokens;
        let num_targets = targets.len() as u32;
        let sample = RowSampling {
            sampling: Sampling::Greedy,
            seed: Seed(0),
            choice: 0,
            position: end,
            logprobs: Some(TopLogprobs::try_from(TopLogprobs::MAX)?),
            rules: None,
            outputs: 0..0,
        };
        let batch = ForwardBatch {
            tokens: tokens.iter().map(|&token| InputToken::Known(token)).collect(),
            positions: (start..end).collect(),
            rows: vec![BatchRow {
                seq_id: SeqId(0),
                tokens: 0..num_tokens,
                kv_len: end,
                blocks: 0..self.num_blocks,
                score: (num_targets > 0)
                    .then_some(RowScoring { targets: 0..num_targets, top: TopLogprobs::NONE }),
                sample: Some(sample),
            }],
            block_ids: (0..self.num_blocks).map(BlockId).collect(),
            targets,
            ..ForwardBatch::default()
        };
        Ok(self.runner.run(&batch)?.rows.remove(0)?)
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::{Ranking, TokenLogprob};

    use super::*;

    /// Each answer is a token at log-probability -1, with another that was `gap` less likely.
    fn told(logprobs: &[f32], answer: &[(u32, u32, f32)]) -> Told {
        let token = |&(token, other, gap): &(u32, u32, f32)| {
            let top = [(token, -1.0), (other, -1.0 - gap)];
            let top = top.map(|(token, logprob)| TokenLogprob { token: TokenId(token), logprob });
            let ranking = Some(Ranking { rank: 1, top: top.to_vec() });
            ScoredToken { token: TokenId(token), logprob: -1.0, ranking }
        };
        Told { logprobs: logprobs.to_vec(), answer: answer.iter().map(token).collect() }
    }

    #[test]
    fn answers_are_compared_up_to_where_they_part() {
        let ours = [(1, 9, 0.5), (2, 9, 0.5), (3, 4, 0.5)];
        let near = Outcome::new(
            &told(&[-1.0, -2.0], &ours),
            &told(&[-1.01, -2.03], &[ours[0], ours[1], (4, 3, 0.1)]),
        );
        assert_eq!((near.num_scored, near.num_equal), (2, 2));
        assert!((near.parting - 0.5).abs() < 1e-6, "the reference tells by how much they part");
        assert!((near.mean_difference - 0.02).abs() < 1e-6 && near.is_ok());
        let far = Outcome::new(&told(&[-1.0, -2.0], &ours[..1]), &told(&[-1.2, -2.0], &ours[..1]));
        assert!(!far.is_ok(), "a mean of 0.1 is too much");
        let none = Outcome::new(&told(&[-1.0], &ours[..1]), &told(&[f32::NAN], &ours[..1]));
        assert!(!none.is_ok(), "no number is no agreement");
    }

    #[test]
    fn an_answer_that_the_reference_finds_unlikely_is_wrong_however_well_the_text_is_scored() {
        let parts_by = |gap, token| {
            let (reference, gpu) = (told(&[-1.0], &[(1, 2, gap)]), told(&[-1.0], &[(token, 8, 0.1)]));
            Outcome::new(&reference, &gpu).is_ok()
        };
        assert_eq!([parts_by(0.9, 2), parts_by(1.1, 2), parts_by(0.9, 7)], [true, false, false]);
    }
}
