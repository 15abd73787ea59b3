//! What a step's rows ask of the device's sampler, and what it answers.
//!
//! # Invariants
//!
//! - Orders stand as logits do: row after row of the batch, of a row its targets first and then the token to be sampled.
//! - A row's sampled token is kept under the row's number, by which the next step names it.

use spillway_kernels::cuda::CudaError;
use spillway_kernels::sampling::{
    Choice, ChosenTokens, Draw, Exclusion, OutputToken, RowLists, RowOutcome, RowPenalties, SamplingRows,
};
use spillway_kernels::{KernelError, StepBatch};
use spillway_types::{Ranking, Sampling, ScoredToken, TokenId, TokenLogprob, TopLogprobs};

use crate::batch::{
    ForwardBatch, InputToken, LogitRules, RowError, RowOutput, RowSampling, RowTokens, SampledTokens,
};
use crate::error::ModelError;
use crate::model::PendingTokens;

/// Most words of the lists that rules have, for one row: a mask, some exclusions and biases, some outputs.
fn list_words_per_row(vocab: usize, max_model_len: usize) -> usize {
    const EXCLUSIONS_AND_BIASES: usize = 4096;
    vocab.div_ceil(32) + EXCLUSIONS_AND_BIASES + 2 * max_model_len.min(8192)
}

/// How many words of lists a step has room for. Steps whose rules need more are sampled by the host.
pub(super) fn max_list_words(vocab: usize, max_rows: usize, max_model_len: usize) -> usize {
    const MOST: usize = 16 << 20;
    max_rows.saturating_mul(list_words_per_row(vocab, max_model_len)).min(MOST)
}

/// Asks for what the batch's rows want, if the step's rows have a sampler to ask.
pub(super) fn ask(step: &mut StepBatch, batch: &ForwardBatch) -> Result<(), ModelError> {
    let Some(orders) = step.sampling_mut() else { return Ok(()) };
    for (row, slot) in batch.rows.iter().zip(0_u32..) {
        if let Some(score) = &row.score {
            for target in &batch.targets[score.targets.start as usize..score.targets.end as usize] {
                let choice = Choice::Score { target: target.0 };
                orders.push(choice, None, Some(score.top.count() as u32)).map_err(KernelError::from)?;
            }
        }
        if let Some(sampling) = &row.sample {
            let outputs = &batch.outputs[sampling.outputs.start as usize..sampling.outputs.end as usize];
            ask_for_token(orders, sampling, slot, outputs).map_err(KernelError::from)?;
        }
    }
    Ok(())
}

fn ask_for_token(
    orders: &mut SamplingRows,
    row: &RowSampling,
    slot: u32,
    outputs: &[InputToken],
) -> Result<(), CudaError> {
    let choice = match &row.sampling {
        Sampling::Greedy => Choice::Greedy,
        Sampling::Random(random) => Choice::Random(Draw {
            temperature: random.temperature(),
            top_k: random.top_k(),
            top_p: random.top_p(),
            min_p: random.min_p(),
            seed: row.seed.0,
            choice: row.choice,
            position: row.position,
        }),
    };
    let top = row.logprobs.map(|top| top.count() as u32);
    let mut lists = orders.push(choice, Some(slot), top)?;
    match &row.rules {
        Some(rules) => list_rules(&mut lists, rules, row.position, outputs),
        None => Ok(()),
    }
}

/// The rules in the form of lists; what they do is the sampler's, in the order of the host's.
fn list_rules(
    lists: &mut RowLists<'_>,
    rules: &LogitRules,
    position: u32,
    outputs: &[InputToken],
) -> Result<(), CudaError> {
    let outputs = || {
        outputs.iter().map(|token| match *token {
            InputToken::Known(token) => OutputToken::Known(token.0),
            InputToken::Sampled { row } => OutputToken::Sampled { slot: row },
        })
    };
    if let Some(allowed) = &rules.allowed {
        lists.allow(allowed.iter().map(|token| token.0))?;
    }
    let mut excluded = Vec::new();
    for word in &rules.bad_words {
        excluded.extend(Exclusion::of_word(word.iter().map(|token| token.0), outputs())?);
    }
    if position < rules.first_end_position {
        excluded.extend(rules.end_tokens.iter().map(|token| Exclusion { token: token.0, after: None }));
    }
    lists.exclude(excluded)?;
    lists.bias(rules.bias.iter().map(|bias| (bias.token.0, bias.bias)))?;
    if !rules.penalties.are_off() {
        let penalties = RowPenalties {
            repetition: rules.penalties.repetition(),
            presence: rules.penalties.presence(),
            frequency: rules.penalties.frequency(),
        };
        lists.penalise(penalties, rules.prompt_tokens.iter().map(|token| token.0))?;
    }
    if rules.look_at_outputs() {
        lists.outputs(outputs())?;
    }
    Ok(())
}

/// A step's tokens, until the device has chosen them.
#[derive(Debug)]
pub(super) struct DeviceTokens(pub(super) ChosenTokens);

impl PendingTokens for DeviceTokens {
    fn wait(self: Box<Self>, batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        self.0.wait()?;
        let mut next = 0;
        let mut rows = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let mut outcome: RowTokens = Ok(RowOutput::default());
            let targets = row.score.as_ref().map_or(&[][..], |score| {
                &batch.targets[score.targets.start as usize..score.targets.end as usize]
            });
            for _ in targets {
                let scored = self.token(next, row.kv_len, row.score.as_ref().map(|score| score.top))?;
                take(&mut outcome, scored, |output| &mut output.scored);
                next += 1;
            }
            if let Some(sampling) = &row.sample {
                let sampled = self.token(next, sampling.position, sampling.logprobs)?;
                take(&mut outcome, sampled, |output| &mut output.sampled);
                next += 1;
            }
            rows.push(outcome);
        }
        Ok(SampledTokens { rows })
    }
}

impl DeviceTokens {
    /// The token of logits `row_idx`.
    fn token(
        &self,
        row_idx: usize,
        position: u32,
        top: Option<TopLogprobs>,
    ) -> Result<Result<ScoredToken, RowError>, ModelError> {
        let (outcome, likeliest) = self.0.row(row_idx, top.map_or(0, TopLogprobs::count))?;
        Ok(match outcome {
            RowOutcome::Chosen { token, logprob, rank } => {
                let likeliest =
                    likeliest.map(|(token, logprob)| TokenLogprob { token: TokenId(token), logprob });
                let ranking = top.map(|_| Ranking { rank, top: likeliest.collect() });
                Ok(ScoredToken { token: TokenId(token), logprob, ranking })
            }
            RowOutcome::NotFinite { token } => Err(RowError::LogitsNotFinite { token_id: token }),
            RowOutcome::NoTokenLeft => Err(RowError::NoTokenLeft { position }),
        })
    }
}

/// Adds a token to what a row brought, or makes the row fail with the token.
fn take(
    outcome: &mut RowTokens,
    token: Result<ScoredToken, RowError>,
    list: impl FnOnce(&mut RowOutput) -> &mut Vec<ScoredToken>,
) {
    match (outcome.as_mut(), token) {
        (Ok(output), Ok(token)) => list(output).push(token),
        (Ok(_), Err(error)) => *outcome = Err(error),
        (Err(_), _) => {}
    }
}
