//! The tokens that may still be drawn, and the cuts that make them fewer.
//!
//! All three cuts keep a leading part of the tokens in order of falling likelihood, of equals the lower id first. A cut
//! finds the place where that part ends by counting in buckets of equal width; only the bucket at the edge is sorted.
//! The candidates themselves stay in order of ids, so a draw does not depend on how they were cut. Loops over the whole
//! vocabulary, but for the counting, have no branches, so that they are computed many lanes at a time.

use super::exp::{exp_non_positive, sum_in_lanes};

/// Buckets per unit of the natural logarithm, and how many there are; the last takes everything below 32 units, where a
/// token is 1e-14 times as likely as the first.
const BUCKETS_PER_UNIT: f32 = 32.0;
const NUM_BUCKETS: usize = 1024;
/// Tokens whose weights are added up together when a draw looks for its place.
const RUN: usize = 1024;

/// Candidates in order of ids.
#[derive(Debug)]
pub(super) struct Candidates {
    /// Logit less the row's largest, over the temperature, at most 0: `[vocab]`.
    scores: Vec<f32>,
    /// `e^score`, or 0 for a token that cannot be drawn: `[vocab]`.
    weights: Vec<f32>,
    buckets: Vec<Mass>,
    edge: Vec<Edge>,
    runs: Vec<f64>,
}

/// A candidate in the bucket where a cut falls.
#[derive(Debug, Clone, Copy)]
struct Edge {
    score: f32,
    token_idx: u32,
}

/// How many candidates there are in some part of the order, and how likely they are together.
#[derive(Debug, Clone, Copy, Default)]
struct Mass {
    count: usize,
    weight: f64,
}

impl Candidates {
    pub(super) fn with_capacity(vocab_size: usize) -> Self {
        Self {
            scores: Vec::with_capacity(vocab_size),
            weights: Vec::with_capacity(vocab_size),
            buckets: vec![Mass::default(); NUM_BUCKETS],
            edge: Vec::with_capacity(vocab_size),
            runs: Vec::with_capacity(vocab_size.div_ceil(RUN)),
        }
    }

    /// How many are left.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight > 0.0).count()
    }

    /// Takes in a row of logits, whose largest is `maximum`.
    pub(super) fn fill(&mut self, logits: &[f32], maximum: f32, temperature: f32) {
        let scale = 1.0 / temperature;
        self.scores.clear();
        self.scores.extend(logits.iter().map(|logit| (logit - maximum) * scale));
        self.weights.clear();
        self.weights.extend(self.scores.iter().map(|&score| exp_non_positive(score)));
    }

    /// Keeps the `limit` most likely ones.
    pub(super) fn keep_most_likely(&mut self, limit: usize) {
        if limit < self.weights.len() {
            self.count_buckets();
            self.cut(|before| before.count >= limit);
        }
    }

    /// Keeps the most likely ones up to the first whose weights sum to `fraction` of all.
    pub(super) fn keep_nucleus(&mut self, fraction: f32) {
        let wanted = self.count_buckets().weight * f64::from(fraction);
        self.cut(|before| before.weight >= wanted);
    }

    /// Keeps those at least `fraction` as likely as the most likely one, which has weight 1.
    pub(super) fn keep_at_least(&mut self, fraction: f32) {
        for weight in &mut self.weights {
            *weight = if *weight >= fraction { *weight } else { 0.0 };
        }
    }

    /// The token at `uniform`, from 0 to 1, of the way through the weights in order of ids.
    pub(super) fn pick(&mut self, uniform: f64) -> u32 {
        self.runs.clear();
        self.runs.extend(self.weights.chunks(RUN).map(sum_in_lanes));
        let mut rest = self.runs.iter().sum::<f64>() * uniform;
        // The run in which the place lies; should rounding lead past the end, the last one with candidates.
        let mut chosen_run = 0;
        for (run_idx, &sum) in self.runs.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            chosen_run = run_idx;
            if rest < sum {
                break;
            }
            rest -= sum;
        }
        let first = chosen_run * RUN;
        let end = self.weights.len().min(first + RUN);
        let mut chosen = first;
        for (token_idx, &weight) in (first..end).zip(&self.weights[first..end]) {
            if weight > 0.0 {
                chosen = token_idx;
                rest -= f64::from(weight);
                if rest < 0.0 {
                    break;
                }
            }
        }
        chosen as u32
    }

    /// Sorts all candidates into buckets, and answers with what they hold together.
    fn count_buckets(&mut self) -> Mass {
        self.buckets.fill(Mass::default());
        for (&score, &weight) in self.scores.iter().zip(&self.weights) {
            // After a first cut nearly all are out, and a branch that is always taken alike costs little.
            if weight > 0.0 {
                let mass = &mut self.buckets[bucket(score)];
                mass.count += 1;
                mass.weight += f64::from(weight);
            }
        }
        self.buckets.iter().fold(Mass::default(), |sum, mass| Mass {
            count: sum.count + mass.count,
            weight: sum.weight + mass.weight,
        })
    }

    /// Walks from the most likely candidate down and drops the first for which `is_enough`, asked about all that stand
    /// before it, holds, with all that follow. `is_enough` must not change back.
    ///
    /// The buckets have been counted.
    fn cut(&mut self, is_enough: impl Fn(Mass) -> bool) {
        // The edge is the first bucket after which enough is held.
        let mut before = Mass::default();
        let mut edge_bucket = None;
        for (bucket_idx, mass) in self.buckets.iter().enumerate() {
            let after = Mass { count: before.count + mass.count, weight: before.weight + mass.weight };
            if is_enough(after) {
                edge_bucket = Some(bucket_idx);
                break;
            }
            before = after;
        }
        let Some(edge_bucket) = edge_bucket else { return };
        self.sort_edge(edge_bucket);
        let mut last_kept = None;
        for candidate in &self.edge {
            if is_enough(before) {
                break;
            }
            before.count += 1;
            before.weight += f64::from(self.weights[candidate.token_idx as usize]);
            last_kept = Some(*candidate);
        }
        if let Some(last) = last_kept {
            self.drop_after(last);
        }
    }

    /// Collects the candidates of one bucket, the most likely first.
    fn sort_edge(&mut self, edge_bucket: usize) {
        self.edge.clear();
        for (token_idx, (&score, &weight)) in self.scores.iter().zip(&self.weights).enumerate() {
            if weight > 0.0 && bucket(score) == edge_bucket {
                self.edge.push(Edge { score, token_idx: token_idx as u32 });
            }
        }
        self.edge.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.token_idx.cmp(&b.token_idx)));
    }

    /// Drops everything that comes after `last` in the order of likelihood.
    fn drop_after(&mut self, last: Edge) {
        let (up_to_last, after_last) = self.weights.split_at_mut(last.token_idx as usize + 1);
        let (scores_up_to_last, scores_after_last) = self.scores.split_at(up_to_last.len());
        for (weight, &score) in up_to_last.iter_mut().zip(scores_up_to_last) {
            *weight = if score >= last.score { *weight } else { 0.0 };
        }
        for (weight, &score) in after_last.iter_mut().zip(scores_after_last) {
            *weight = if score > last.score { *weight } else { 0.0 };
        }
    }
}

/// Where a score is counted: the lower, the later.
fn bucket(score: f32) -> usize {
    ((-score * BUCKETS_PER_UNIT) as usize).min(NUM_BUCKETS - 1)
}
