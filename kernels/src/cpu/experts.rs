//! Who goes where in a mixture of experts, and the sum of what comes back.

use crate::ops::{ExpertWeighting, ExpertsLimits};

use super::CpuDevice;
use super::disjoint::Disjoint;

/// Tokens that one unit routes, or adds up.
const TOKENS_PER_UNIT: usize = 8;

/// How tokens choose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) num_experts: usize,
    pub(crate) num_active: usize,
    pub(crate) weighting: ExpertWeighting,
}

/// The experts of each token, and the tokens of each expert.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Best first: `[tokens, num_active]`
    experts: Vec<u32>,
    /// `[tokens, num_active]`
    weights: Vec<f32>,
    /// Where an expert's tokens begin in `by_expert`: `[num_experts + 1]`
    starts: Vec<u32>,
    /// Tokens in ascending order, expert after expert: `[tokens * num_active]`
    tokens_by_expert: Vec<u32>,
    /// `[tokens * num_active]`
    weights_by_expert: Vec<f32>,
}

/// The tokens of one expert, each of them once, and what its results are multiplied with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChosenBy<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) weights: &'a [f32],
}

impl Routes {
    /// Lists with room for `limits`.
    pub(crate) fn new(limits: ExpertsLimits) -> Self {
        let most = limits.max_tokens * limits.max_active;
        Self {
            experts: vec![0; most],
            weights: vec![0.0; most],
            starts: vec![0; limits.max_experts + 1],
            tokens_by_expert: vec![0; most],
            weights_by_expert: vec![0.0; most],
        }
    }

    /// Chooses for tokens with these logits: `[tokens, num_experts]`.
    pub(crate) fn choose(&mut self, cpu: &CpuDevice, choice: Choice, logits: &[f32]) {
        let Choice { num_experts, num_active, weighting } = choice;
        let num_tokens = logits.len() / num_experts;
        let num_chosen = num_tokens * num_active;
        let experts = Disjoint::new(&mut self.experts[..num_chosen]);
        let weights = Disjoint::new(&mut self.weights[..num_chosen]);
        cpu.for_each_unit(num_tokens.div_ceil(TOKENS_PER_UNIT), &|_, unit| {
            for token in unit * TOKENS_PER_UNIT..num_tokens.min((unit + 1) * TOKENS_PER_UNIT) {
                let range = token * num_active..(token + 1) * num_active;
                // SAFETY: units are ranges of tokens that do not overlap.
                let (experts, weights) = unsafe { (experts.part(range.clone()), weights.part(range)) };
                let logits = &logits[token * num_experts..(token + 1) * num_experts];
                choose_for_token(logits, weighting, experts, weights);
            }
        });
        self.sort_by_expert(num_experts, num_active, num_chosen);
    }

    /// The tokens that chose an expert.
    pub(crate) fn chosen_by(&self, expert: usize) -> ChosenBy<'_> {
        let range = self.starts[expert] as usize..self.starts[expert + 1] as usize;
        ChosenBy { tokens: &self.tokens_by_expert[range.clone()], weights: &self.weights_by_expert[range] }
    }

    /// Sorts by counting: `starts[e]` first counts expert `e - 2`'s tokens, then is where the next of `e - 1` goes, and
    /// so in the end where `e` begins.
    fn sort_by_expert(&mut self, num_experts: usize, num_active: usize, num_chosen: usize) {
        let starts = &mut self.starts[..=num_experts];
        starts.fill(0);
        for &expert in &self.experts[..num_chosen] {
            if let Some(count) = starts.get_mut(expert as usize + 2) {
                *count += 1;
            }
        }
        for expert in 1..=num_experts {
            starts[expert] += starts[expert - 1];
        }
        for (index, &expert) in self.experts[..num_chosen].iter().enumerate() {
            let next = &mut starts[expert as usize + 1];
            self.tokens_by_expert[*next as usize] = (index / num_active) as u32;
            self.weights_by_expert[*next as usize] = self.weights[index];
            *next += 1;
        }
    }
}

/// The experts with the largest logits, best first and of equals the lower index, and their weights.
///
/// Logits that are no numbers choose something all the same; their weights are no numbers either.
fn choose_for_token(logits: &[f32], weighting: ExpertWeighting, experts: &mut [u32], weights: &mut [f32]) {
    for (rank, weight) in weights.iter_mut().enumerate() {
        let (before, rest) = experts.split_at_mut(rank);
        let mut best: Option<(usize, f32)> = None;
        for (expert, &logit) in logits.iter().enumerate() {
            let is_better = best.is_none_or(|(_, largest)| logit > largest);
            if is_better && !before.contains(&(expert as u32)) {
                best = Some((expert, logit));
            }
        }
        let (expert, logit) = best.expect("no more experts are chosen than there are");
        rest[0] = expert as u32;
        *weight = logit;
    }
    let largest = weights[0];
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    for weight in &mut *weights {
        *weight = (*weight - largest).exp() / total;
    }
    if weighting == ExpertWeighting::OfChosen {
        let total: f32 = weights.iter().sum();
        for weight in weights {
            *weight /= total;
        }
    }
}

/// `out[tokens[i]] += weights[i] * results[i]`, rows of `columns` numbers.
pub(crate) fn add_weighted_rows(
    cpu: &CpuDevice,
    chosen_by: ChosenBy<'_>,
    results: &[f32],
    out: &mut [f32],
    columns: usize,
) {
    let ChosenBy { tokens, weights } = chosen_by;
    let out = Disjoint::new(out);
    cpu.for_each_unit(tokens.len().div_ceil(TOKENS_PER_UNIT), &|_, unit| {
        for index in unit * TOKENS_PER_UNIT..tokens.len().min((unit + 1) * TOKENS_PER_UNIT) {
            let start = tokens[index] as usize * columns;
            // SAFETY: an expert's tokens are distinct, so no two indices name one row.
            let sums = unsafe { out.part(start..start + columns) };
            let results = &results[index * columns..(index + 1) * columns];
            for (sum, result) in sums.iter_mut().zip(results) {
                *sum += weights[index] * result;
            }
        }
    });
}
