//! What a request does to a row of logits before a token is chosen from it.
//!
//! In this order, which is vLLM's: only the allowed tokens; no token that would complete a bad word; no end before the
//! least number of tokens; biases; penalties for repetition, then frequency and presence. The temperature and the cuts
//! follow, in [`super`]. The model's own logits stay as they are, since log-probabilities are told of them.
//!
//! # Invariants
//!
//! - What comes out is a function of the logits, the rules and the sequence's own tokens: nothing is kept from one row
//!   to the next, so it is the same after a preemption and in any company.
//! - A row costs time in proportion to the vocabulary, the distinct tokens of its prompt and its output, and allocates
//!   nothing.

use spillway_types::TokenId;

use crate::batch::{LogitRules, RowError};

/// Changes logits; its memory is made once, for one vocabulary.
#[derive(Debug)]
pub(super) struct Adjuster {
    /// The changed logits: `[vocab]`.
    logits: Vec<f32>,
    /// For each token how often it was generated, plus [`IN_PROMPT`]; zero between rows: `[vocab]`.
    counts: Vec<u32>,
}

/// Marks a token of the prompt; above all counts, since a context is shorter.
const IN_PROMPT: u32 = 1 << 31;

impl Adjuster {
    pub(super) fn new(vocab_size: usize) -> Self {
        Self { logits: Vec::with_capacity(vocab_size), counts: vec![0; vocab_size] }
    }

    /// The logits after all rules, for the token at `position` of a sequence that has generated `outputs`.
    ///
    /// # Errors
    ///
    /// [`RowError::NoTokenLeft`] if the rules exclude every token.
    pub(super) fn apply(
        &mut self,
        logits: &[f32],
        rules: &LogitRules,
        outputs: &[TokenId],
        position: u32,
    ) -> Result<&[f32], RowError> {
        self.fill(logits, rules.allowed.as_deref());
        for word in &rules.bad_words {
            self.exclude_end_of(word, outputs);
        }
        if position < rules.first_end_position {
            for &token in &*rules.end_tokens {
                self.exclude(token);
            }
        }
        for bias in &rules.bias {
            if let Some(logit) = self.logits.get_mut(bias.token.0 as usize) {
                *logit += bias.bias;
            }
        }
        if !rules.penalties.are_off() {
            self.penalise(rules, outputs);
        }
        if self.logits.iter().all(|&logit| logit == f32::NEG_INFINITY) {
            return Err(RowError::NoTokenLeft { position });
        }
        Ok(&self.logits)
    }

    fn fill(&mut self, logits: &[f32], allowed: Option<&[TokenId]>) {
        self.logits.clear();
        let Some(allowed) = allowed else {
            self.logits.extend_from_slice(logits);
            return;
        };
        self.logits.resize(logits.len(), f32::NEG_INFINITY);
        for token in allowed {
            if let (Some(to), Some(from)) =
                (self.logits.get_mut(token.0 as usize), logits.get(token.0 as usize))
            {
                *to = *from;
            }
        }
    }

    fn exclude(&mut self, token: TokenId) {
        if let Some(logit) = self.logits.get_mut(token.0 as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }

    /// Excludes the last token of `word` if the others have just come.
    fn exclude_end_of(&mut self, word: &[TokenId], outputs: &[TokenId]) {
        if let Some((&last, before)) = word.split_last()
            && outputs.ends_with(before)
        {
            self.exclude(last);
        }
    }

    fn penalise(&mut self, rules: &LogitRules, outputs: &[TokenId]) {
        for token in &rules.prompt_tokens {
            if let Some(count) = self.counts.get_mut(token.0 as usize) {
                *count |= IN_PROMPT;
            }
        }
        for token in outputs {
            if let Some(count) = self.counts.get_mut(token.0 as usize) {
                *count += 1;
            }
        }
        for token in rules.prompt_tokens.iter().chain(outputs) {
            let token_idx = token.0 as usize;
            // A token that comes again was dealt with, and its count is zero by now.
            if let Some(count) = self.counts.get_mut(token_idx).map(std::mem::take).filter(|&count| count > 0)
                && let Some(logit) = self.logits.get_mut(token_idx)
            {
                *logit = rules.penalties.apply(*logit, count & !IN_PROMPT);
            }
        }
    }
}

#[cfg(test)]
mod tests;
