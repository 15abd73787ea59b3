//! From one row of logits to one token.
//!
//! Everything is computed in one fixed order, so that the same logits and the same seed give the same token on every
//! machine and whatever else runs. Nothing is sorted but the few candidates at the edge of a cut.
//!
//! In a request's path: after the decoder's last product; [`crate::ModelRunner`] calls it once for each row that samples.

use spillway_types::{RandomSampling, Sampling, ScoredToken, TokenId, TopLogprobs};

use crate::batch::{RowError, RowSampling};

mod candidates;
mod exp;
mod philox;
mod rules;
mod scoring;

pub(crate) use philox::philox4x32_10;

use candidates::Candidates;
use philox::uniform;
use rules::Adjuster;
use scoring::Normaliser;

/// Chooses tokens; its scratch memory is made once, for one vocabulary.
#[derive(Debug)]
pub struct Sampler {
    candidates: Candidates,
    adjuster: Adjuster,
}

impl Sampler {
    /// A sampler for rows of up to `vocab_size` logits.
    pub fn new(vocab_size: usize) -> Self {
        Self { candidates: Candidates::with_capacity(vocab_size), adjuster: Adjuster::new(vocab_size) }
    }

    /// Chooses one token from `logits`: `[vocab]`. Its sequence has generated `outputs`, which matter only if the row's
    /// rules look at them.
    ///
    /// Whatever rules and cuts do, the log-probability is that under `logits` themselves.
    ///
    /// # Errors
    ///
    /// [`RowError::LogitsNotFinite`] if a logit is NaN or positive infinity, or all are negative infinity,
    /// [`RowError::NoTokenLeft`] if the row's rules exclude all.
    pub fn sample(
        &mut self,
        logits: &[f32],
        row: &RowSampling,
        outputs: &[TokenId],
    ) -> Result<ScoredToken, RowError> {
        let maximum = checked_maximum(logits)?;
        let token_idx = match &row.rules {
            None => choose(&mut self.candidates, logits, maximum, row),
            Some(rules) => {
                let adjusted = self.adjuster.apply(logits, rules, outputs, row.position)?;
                let maximum = adjusted.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                choose(&mut self.candidates, adjusted, maximum, row)
            }
        };
        let normaliser = Normaliser::of(logits, maximum);
        Ok(scoring::score(logits, normaliser, TokenId(token_idx as u32), row.logprobs))
    }

    /// Tells how likely `token` is under `logits`: `[vocab]`.
    ///
    /// # Errors
    ///
    /// As [`Sampler::sample`].
    pub fn score(
        &mut self,
        logits: &[f32],
        token: TokenId,
        top: TopLogprobs,
    ) -> Result<ScoredToken, RowError> {
        let normaliser = Normaliser::of(logits, checked_maximum(logits)?);
        Ok(scoring::score(logits, normaliser, token, Some(top)))
    }
}

/// Chooses from logits after all rules. `maximum` is the largest of them.
fn choose(candidates: &mut Candidates, logits: &[f32], maximum: f32, row: &RowSampling) -> usize {
    match &row.sampling {
        Sampling::Greedy => first_of(logits, maximum),
        Sampling::Random(random) => {
            candidates.fill(logits, maximum, random.temperature());
            cut(candidates, random);
            candidates.pick(uniform(row.seed, row.choice, row.position)) as usize
        }
    }
}

/// Makes the cuts in their order, which is vLLM's.
fn cut(candidates: &mut Candidates, random: &RandomSampling) {
    if let Some(min_p) = random.min_p() {
        candidates.keep_at_least(min_p);
    }
    if let Some(top_k) = random.top_k() {
        candidates.keep_most_likely(top_k.get() as usize);
    }
    if let Some(top_p) = random.top_p() {
        candidates.keep_nucleus(top_p);
    }
}

/// The largest logit of a row that is a distribution.
fn checked_maximum(logits: &[f32]) -> Result<f32, RowError> {
    const LANES: usize = 16;
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let mut is_bad = [false; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            is_bad[lane] |= breaks(chunk[lane]);
            maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] };
        }
    }
    let bad_rest = rest.iter().any(|&logit| breaks(logit));
    let maximum = maxima.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    if bad_rest || is_bad.contains(&true) || maximum == f32::NEG_INFINITY {
        let first = logits.iter().position(|&logit| breaks(logit)).unwrap_or(0);
        return Err(RowError::LogitsNotFinite { token_id: first as u32 });
    }
    Ok(maximum)
}

/// Whether a logit leaves no distribution. A maximum alone would pass over NaN.
fn breaks(logit: f32) -> bool {
    logit.is_nan() || logit >= f32::INFINITY
}

/// The lowest index of `value`, which is in the row.
fn first_of(logits: &[f32], value: f32) -> usize {
    const CHUNK: usize = 64;
    for (chunk_idx, chunk) in logits.chunks(CHUNK).enumerate() {
        // Looked at whole first: a fold has no early exit and so is computed many lanes at a time.
        if chunk.iter().copied().fold(f32::NEG_INFINITY, f32::max) >= value {
            let offset = chunk.iter().position(|logit| *logit >= value).unwrap_or(0);
            return chunk_idx * CHUNK + offset;
        }
    }
    0
}

#[cfg(test)]
mod tests;
