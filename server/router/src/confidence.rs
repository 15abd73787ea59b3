//! How sure the local model is of its first tokens: a signal that only who owns the logits has.

use spillway_types::AnswerToken;

use crate::Confidence;

/// What the first tokens of an answer tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signals {
    /// Mean log-probability of the tokens; absent without any.
    mean_logprob: Option<f32>,
    /// Entropy of the first token's distribution in nats, its unlisted rest taken as one token: so at most what it is.
    entropy: Option<f32>,
    /// By how much the likeliest first token leads, in log-probability.
    margin: Option<f32>,
}

impl Signals {
    pub(crate) fn of(tokens: &[AnswerToken]) -> Self {
        let sum: f32 = tokens.iter().map(|token| token.logprob).sum();
        let top = tokens.first().and_then(|token| token.detail.as_ref()).map(|detail| &detail.top[..]);
        Self {
            mean_logprob: (!tokens.is_empty()).then(|| sum / tokens.len() as f32),
            entropy: top.filter(|top| !top.is_empty()).map(|top| {
                let surprise = |probability: f32| {
                    if probability > 0.0 { -probability * probability.ln() } else { 0.0 }
                };
                let probabilities = top.iter().map(|token| token.logprob.exp());
                let rest = (1.0 - probabilities.clone().sum::<f32>()).max(0.0);
                probabilities.map(surprise).sum::<f32>() + surprise(rest)
            }),
            margin: match top {
                Some([first, second, ..]) => Some(first.logprob - second.logprob),
                _ => None,
            },
        }
    }

    /// Whether the model is unsure, by any of the limits that are set. What is not known says nothing.
    pub(crate) fn is_unsure(&self, limits: &Confidence) -> bool {
        let exceeds = |value: Option<f32>, limit: Option<f32>| {
            value.zip(limit).is_some_and(|(value, limit)| value > limit)
        };
        exceeds(self.mean_logprob.map(|mean| -mean), Some(-limits.min_mean_logprob))
            || exceeds(self.entropy, limits.max_entropy)
            || exceeds(self.margin.map(|margin| -margin), limits.min_margin.map(|limit| -limit))
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::{SpelledToken, TokenDetail, TokenId};

    use super::*;

    fn token(logprob: f32, top: &[f32]) -> AnswerToken {
        let spelled =
            |logprob: &f32| SpelledToken { token: Some(TokenId(1)), logprob: *logprob, bytes: Vec::new() };
        let detail = TokenDetail {
            bytes: Vec::new(),
            text_offset: 0,
            rank: 1,
            top: top.iter().map(spelled).collect(),
        };
        AnswerToken { token: Some(TokenId(1)), logprob, detail: Some(detail) }
    }

    const LIMITS: Confidence =
        Confidence { hold_tokens: 4, min_mean_logprob: -1.0, max_entropy: None, min_margin: None };

    #[test]
    fn a_low_mean_is_unsure() {
        let half = 0.5_f32.ln();
        let signals = Signals::of(&[token(-0.5, &[half, half]), token(-1.4, &[])]);
        assert!(!signals.is_unsure(&LIMITS));
        assert!(signals.is_unsure(&Confidence { min_mean_logprob: -0.9, ..LIMITS }));
    }

    #[test]
    fn an_even_first_token_has_a_high_entropy_and_no_margin() {
        let half = 0.5_f32.ln();
        let signals = Signals::of(&[token(half, &[half, half])]);
        let entropy = signals.entropy.expect("its distribution was told");
        assert!((entropy - 2.0_f32.ln()).abs() < 1e-5, "{entropy}");
        assert!(signals.is_unsure(&Confidence { max_entropy: Some(0.6), ..LIMITS }));
        assert!(!signals.is_unsure(&Confidence { max_entropy: Some(0.7), ..LIMITS }));
        assert!(signals.is_unsure(&Confidence { min_margin: Some(0.1), ..LIMITS }));
    }

    #[test]
    fn nothing_is_concluded_from_nothing() {
        assert!(!Signals::of(&[]).is_unsure(&LIMITS));
    }
}
