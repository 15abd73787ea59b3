//! Grows one tree, leaf by leaf.

use super::bins::{Bins, MAX_BINS};
use super::{ForestRecipe, Node};
use crate::random::Random;

/// A leaf that may still be split.
struct Growing {
    node: usize,
    rows: Vec<u32>,
    split: Option<Split>,
}

/// The best split found for a leaf.
#[derive(Clone, Copy)]
struct Split {
    feature: usize,
    /// The last bin that goes low.
    bin: usize,
    threshold: f32,
    /// How much the squared error shrinks.
    gain: f64,
}

/// Sum of errors and number of rows.
#[derive(Clone, Copy, Default)]
struct Sum {
    errors: f64,
    num: usize,
}

impl Sum {
    fn add(&mut self, error: f64) {
        self.errors += error;
        self.num += 1;
    }

    fn score(self, penalty: f64) -> f64 {
        self.errors * self.errors / (self.num as f64 + penalty)
    }
}

/// A node of a tree that is being grown.
#[derive(Clone, Copy)]
enum Grown {
    /// High values go to the node after `low`.
    Split {
        split: Split,
        low: usize,
    },
    Leaf(f64),
}

/// Grows a tree on `errors`, one a row, and takes from them what the tree predicts.
///
/// The tree is grown on a part of the rows only, drawn anew for each tree: Friedman, "Stochastic gradient boosting", 2002.
pub(super) fn grow(bins: &Bins, errors: &mut [f64], recipe: &ForestRecipe, random: &mut Random) -> Vec<Node> {
    let mut nodes = vec![Grown::Leaf(0.0)];
    let mut leaves = Vec::with_capacity(recipe.max_leaves);
    let is_drawn = |_: &u32| random.below(recipe.sample_one_in) == 0;
    let rows: Vec<u32> = (0..bins.num_rows() as u32).filter(is_drawn).collect();
    leaves.push(leaf(0, rows, bins, errors, recipe, random));
    while leaves.len() < recipe.max_leaves {
        let Some((leaf_idx, split)) = best(&leaves) else { break };
        let parent: Growing = leaves.swap_remove(leaf_idx);
        let column = bins.column(split.feature);
        let goes_low = |row: &u32| usize::from(column[*row as usize]) <= split.bin;
        let (low, high): (Vec<u32>, Vec<u32>) = parent.rows.into_iter().partition(goes_low);
        let next = nodes.len();
        nodes[parent.node] = Grown::Split { split, low: next };
        nodes.extend([Grown::Leaf(0.0); 2]);
        leaves.push(leaf(next, low, bins, errors, recipe, random));
        leaves.push(leaf(next + 1, high, bins, errors, recipe, random));
    }
    for leaf in leaves {
        let sum = sum(&leaf.rows, errors);
        let value = recipe.learning_rate * sum.errors / (sum.num as f64 + recipe.penalty);
        nodes[leaf.node] = Grown::Leaf(value);
    }
    for (row, error) in errors.iter_mut().enumerate() {
        *error -= predict(&nodes, bins, row);
    }
    nodes.into_iter().map(Grown::finish).collect()
}

/// What the tree of `nodes` predicts for row `row` of `bins`.
fn predict(nodes: &[Grown], bins: &Bins, row: usize) -> f64 {
    let mut at = 0;
    loop {
        match nodes[at] {
            Grown::Split { split, low } => {
                let is_high = usize::from(bins.column(split.feature)[row]) > split.bin;
                at = low + usize::from(is_high);
            }
            Grown::Leaf(value) => return value,
        }
    }
}

impl Grown {
    fn finish(self) -> Node {
        match self {
            Self::Split { split, low } => Node::Split {
                feature: split.feature as u8,
                threshold: split.threshold,
                low: low as u8,
                high: (low + 1) as u8,
            },
            Self::Leaf(value) => Node::Leaf(value as f32),
        }
    }
}

/// The leaf whose split gains most; of equals the first.
fn best(leaves: &[Growing]) -> Option<(usize, Split)> {
    let mut best: Option<(usize, Split)> = None;
    for (leaf_idx, leaf) in leaves.iter().enumerate() {
        if let Some(split) = leaf.split
            && best.is_none_or(|(_, found)| split.gain > found.gain)
        {
            best = Some((leaf_idx, split));
        }
    }
    best
}

fn leaf(
    node: usize,
    rows: Vec<u32>,
    bins: &Bins,
    errors: &[f64],
    recipe: &ForestRecipe,
    random: &mut Random,
) -> Growing {
    let split = find(&rows, bins, errors, recipe, random);
    Growing { node, rows, split }
}

/// The best split of `rows` by one of a few features drawn from `random`.
fn find(
    rows: &[u32],
    bins: &Bins,
    errors: &[f64],
    recipe: &ForestRecipe,
    random: &mut Random,
) -> Option<Split> {
    let features = draw(bins.num_features(), recipe.num_split_features, random);
    if rows.len() < 2 * recipe.min_rows {
        return None;
    }
    let whole = sum(rows, errors);
    let mut best: Option<Split> = None;
    for feature in features {
        let column = bins.column(feature);
        let mut counts = [Sum::default(); MAX_BINS];
        for &row in rows {
            counts[usize::from(column[row as usize])].add(errors[row as usize]);
        }
        let mut low = Sum::default();
        for (bin, count) in counts.iter().enumerate() {
            let Some(threshold) = bins.edge(feature, bin) else { break };
            low = Sum { errors: low.errors + count.errors, num: low.num + count.num };
            let high = Sum { errors: whole.errors - low.errors, num: whole.num - low.num };
            if low.num < recipe.min_rows || high.num < recipe.min_rows {
                continue;
            }
            let gain = low.score(recipe.penalty) + high.score(recipe.penalty) - whole.score(recipe.penalty);
            if gain > best.map_or(1e-9, |found| found.gain) {
                best = Some(Split { feature, bin, threshold, gain });
            }
        }
    }
    best
}

/// `num` different numbers below `limit`, or all of them where there are no more.
fn draw(limit: usize, num: usize, random: &mut Random) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..limit).collect();
    let num = num.min(limit);
    for place in 0..num {
        let from = place + random.below(limit - place);
        numbers.swap(place, from);
    }
    numbers.truncate(num);
    numbers
}

fn sum(rows: &[u32], errors: &[f64]) -> Sum {
    let mut sum = Sum::default();
    for &row in rows {
        sum.add(errors[row as usize]);
    }
    sum
}
