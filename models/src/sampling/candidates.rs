//! The tokens that may still be drawn, and the cuts that make them fewer.
//!
//! All three cuts keep a leading part of the tokens in order of falling likelihood, of equals the lower id first. A cut
//! finds the place where that part ends by counting in buckets of equal width; only the bucket at the edge is sorted.
//! The candidates themselves stay in order of ids, so a draw does not depend on how they were cut.

use super::exp::exp_non_positive;

/// Buckets per unit of the natural logarithm, and how many there are; the last takes everything below 32 units, where a
/// token is 1e-14 times as likely as the first.
const BUCKETS_PER_UNIT: f32 = 32.0;
const NUM_BUCKETS: usize = 1024;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token_idx: u32,
    /// Logit less the row's largest, over the temperature: at most 0.
    score: f32,
    /// `e^score`: how likely it is, against the most likely one.
    weight: f32,
}

/// Candidates in order of ids.
#[derive(Debug)]
pub(super) struct Candidates {
    kept: Vec<Candidate>,
    edge: Vec<Candidate>,
    masses: Vec<Mass>,
}

/// What one bucket holds.
#[derive(Debug, Clone, Copy, Default)]
struct Mass {
    count: usize,
    weight: f64,
}

impl Candidates {
    pub(super) fn with_capacity(vocab_size: usize) -> Self {
        Self {
            kept: Vec::with_capacity(vocab_size),
            edge: Vec::with_capacity(vocab_size),
            masses: vec![Mass::default(); NUM_BUCKETS],
        }
    }

    /// How many are left.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes in a row of logits, whose largest is `maximum`; tokens that cannot be drawn are left out.
    pub(super) fn fill(&mut self, logits: &[f32], maximum: f32, temperature: f32) {
        self.kept.clear();
        // In f64 the quotient of two f32 is finite even at the lowest temperature.
        let scale = 1.0 / f64::from(temperature);
        for (token_idx, &logit) in logits.iter().enumerate() {
            let score = (f64::from(logit - maximum) * scale) as f32;
            self.kept.push(Candidate { token_idx: token_idx as u32, score, weight: exp_non_positive(score) });
        }
        self.kept.retain(|candidate| candidate.weight > 0.0);
    }

    /// Keeps the `limit` most likely ones.
    pub(super) fn keep_most_likely(&mut self, limit: usize) {
        if limit < self.kept.len() {
            self.cut(|before| before.count >= limit);
        }
    }

    /// Keeps the most likely ones up to the first whose weights sum to `fraction` of all.
    pub(super) fn keep_nucleus(&mut self, fraction: f32) {
        let total: f64 = self.kept.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let wanted = total * f64::from(fraction);
        self.cut(|before| before.count > 0 && before.weight >= wanted);
    }

    /// Keeps those at least `fraction` as likely as the most likely one, which has weight 1.
    pub(super) fn keep_at_least(&mut self, fraction: f32) {
        self.kept.retain(|candidate| candidate.weight >= fraction);
    }

    /// The token at `uniform`, from 0 to 1, of the way through the weights in order of ids.
    pub(super) fn pick(&self, uniform: f64) -> u32 {
        let total: f64 = self.kept.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let target = total * uniform;
        let mut sum = 0.0;
        let mut last = 0;
        for candidate in &self.kept {
            sum += f64::from(candidate.weight);
            last = candidate.token_idx;
            if sum > target {
                break;
            }
        }
        last
    }

    /// Walks from the most likely candidate down and drops the first for which `is_enough`, asked about all that stand
    /// before it, holds, with all that follow. `is_enough` must not change back.
    fn cut(&mut self, is_enough: impl Fn(Mass) -> bool) {
        self.masses.fill(Mass::default());
        for candidate in &self.kept {
            let mass = &mut self.masses[bucket(candidate.score)];
            mass.count += 1;
            mass.weight += f64::from(candidate.weight);
        }
        // The edge is the first bucket after which enough is held.
        let mut before = Mass::default();
        let mut edge_bucket = NUM_BUCKETS;
        for (bucket_idx, mass) in self.masses.iter().enumerate() {
            let after = Mass { count: before.count + mass.count, weight: before.weight + mass.weight };
            if is_enough(after) {
                edge_bucket = bucket_idx;
                break;
            }
            before = after;
        }
        if edge_bucket == NUM_BUCKETS {
            return;
        }
        self.edge.clear();
        self.edge.extend(self.kept.iter().filter(|candidate| bucket(candidate.score) == edge_bucket));
        self.edge.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.token_idx.cmp(&b.token_idx)));
        let mut last_kept: Option<Candidate> = None;
        for candidate in &self.edge {
            if is_enough(before) {
                break;
            }
            before.count += 1;
            before.weight += f64::from(candidate.weight);
            last_kept = Some(*candidate);
        }
        self.kept.retain(|candidate| match bucket(candidate.score).cmp(&edge_bucket) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => last_kept.is_some_and(|last| {
                candidate.score > last.score
                    || candidate.score >= last.score && candidate.token_idx <= last.token_idx
            }),
        });
    }
}

/// Where a score is counted: the lower, the later.
fn bucket(score: f32) -> usize {
    ((-score * BUCKETS_PER_UNIT) as usize).min(NUM_BUCKETS - 1)
}
