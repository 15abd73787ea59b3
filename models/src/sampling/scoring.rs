//! How likely a token is under a row of logits, and how it stands among the others.

use spillway_types::{Ranking, ScoredToken, TokenId, TokenLogprob, TopLogprobs};

use super::exp::sum_of_exp;

/// Logits that are looked at together, to pass over those that cannot be among the best.
const CHUNK: usize = 64;

/// The logarithm of what a row's exponentials sum to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normaliser(f64);

impl Normaliser {
    /// That of `logits`, whose largest is `maximum`.
    pub(super) fn of(logits: &[f32], maximum: f32) -> Self {
        Self(f64::from(maximum) + sum_of_exp(logits, maximum).ln())
    }

    fn logprob(self, logit: f32) -> f32 {
        (f64::from(logit) - self.0) as f32
    }
}

/// The score of one token, with its ranking if `top` asks for it.
pub(super) fn score(
    logits: &[f32],
    normaliser: Normaliser,
    token: TokenId,
    top: Option<TopLogprobs>,
) -> ScoredToken {
    let logit = logits[token.0 as usize];
    let ranking = top.map(|top| Ranking {
        rank: logits.iter().filter(|&&other| other >= logit).count() as u32,
        top: most_likely(logits, top.count())
            .into_iter()
            .map(|best| TokenLogprob {
                token: TokenId(best.token_idx),
                logprob: normaliser.logprob(best.logit),
            })
            .collect(),
    });
    ScoredToken { token, logprob: normaliser.logprob(logit), ranking }
}

/// One of the best so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    logit: f32,
    token_idx: u32,
}

/// The `count` largest logits, best first; of equals the lowest id first.
fn most_likely(logits: &[f32], count: usize) -> Vec<Best> {
    let mut best: Vec<Best> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    for (chunk, first_idx) in logits.chunks(CHUNK).zip((0_u32..).step_by(CHUNK)) {
        // Looked at whole first: a fold has no early exit and so is computed many lanes at a time.
        let largest = chunk.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if best.len() == count && best.last().is_some_and(|last| largest <= last.logit) {
            continue;
        }
        for (&logit, token_idx) in chunk.iter().zip(first_idx..) {
            insert(&mut best, Best { logit, token_idx }, count);
        }
    }
    best
}

/// Puts a candidate, whose id is above all others', at its place among the best.
fn insert(best: &mut Vec<Best>, candidate: Best, count: usize) {
    let place = best.partition_point(|other| other.logit >= candidate.logit);
    if place < count {
        best.insert(place, candidate);
        best.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Vec<f32> {
        (0..300_u32).map(|i| (i * 37 % 50) as f32 * 0.25 - 6.0).collect()
    }

    /// Goal: the best are those of a sort. Method: logits with many equals, where the lower id must go first.
    #[test]
    fn the_most_likely_are_those_of_a_stable_sort() {
        let logits = logits();
        let mut sorted: Vec<u32> = (0..300).collect();
        sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
        for count in [0, 1, 5, 20, 299, 300, 400] {
            let ids: Vec<u32> = most_likely(&logits, count).iter().map(|best| best.token_idx).collect();
            assert_eq!(ids, sorted[..count.min(300)], "{count} tokens");
        }
    }

    #[test]
    fn a_score_is_the_logarithm_of_the_softmax_with_its_rank() {
        let logits = logits();
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let normaliser = Normaliser::of(&logits, 6.25);
        let top = TopLogprobs::try_from(3).expect("it is within the limit");
        for token in [0_u32, 7, 150, 299] {
            let scored = score(&logits, normaliser, TokenId(token), Some(top));
            let logit = logits[token as usize];
            assert!((f64::from(scored.logprob) - (f64::from(logit) - total.ln())).abs() < 1e-5);
            let ranking = scored.ranking.expect("it was asked for");
            assert_eq!(ranking.rank as usize, logits.iter().filter(|other| **other >= logit).count());
            assert_eq!(ranking.top.len(), 3);
        }
        assert_eq!(score(&logits, normaliser, TokenId(1), None).ranking, None);
    }
}
