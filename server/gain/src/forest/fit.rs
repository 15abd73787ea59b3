//! Grows a forest by gradient boosting on squared error.
//!
//! Values are put into at most `MAX_BINS` bins first. A tree grows at the leaf that gains most, and every split sees its
//! own random part of the features, so several forests of different streams differ, and their mean is better than each.
//!
//! Source: Friedman, "Greedy function approximation: a gradient boosting machine", 2001; bins and growth by the best leaf
//! as in Ke et al., "`LightGBM`", 2017.

mod bins;
mod grow;

use super::{Forest, Node, Tree};
use crate::random::Random;
use bins::Bins;

/// How a forest is grown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForestRecipe {
    /// Forests whose mean is taken.
    pub(crate) num_forests: usize,
    /// Trees of each of them.
    pub(crate) num_trees: usize,
    /// Most leaves of a tree.
    pub(crate) max_leaves: usize,
    /// What part of its leaf's mean error a tree corrects.
    pub(crate) learning_rate: f64,
    /// Fewest rows of a leaf.
    pub(crate) min_rows: usize,
    /// Rows without error that every leaf is taken to have besides its own.
    pub(crate) penalty: f64,
    /// Each tree is grown on about one row in this many; at least 1.
    pub(crate) sample_one_in: usize,
    /// Features that a split may choose from.
    pub(crate) num_split_features: usize,
}

/// The mean of several forests that predict `targets` from `rows`, which are all of one length; of no rows it is zero.
pub(crate) fn fit(rows: &[Vec<f32>], targets: &[f32], recipe: &ForestRecipe, seed: u64) -> Forest {
    let bins = Bins::new(rows);
    let mean = targets.iter().map(|&target| f64::from(target)).sum::<f64>() / targets.len().max(1) as f64;
    let mut trees = Vec::with_capacity(recipe.num_forests * recipe.num_trees);
    for forest_idx in 0..recipe.num_forests {
        let mut random = Random::new(seed, forest_idx as u64);
        let mut errors: Vec<f64> = targets.iter().map(|&target| f64::from(target) - mean).collect();
        for _ in 0..recipe.num_trees {
            let mut nodes = grow::grow(&bins, &mut errors, recipe, &mut random);
            for node in &mut nodes {
                if let Node::Leaf(value) = node {
                    *value /= recipe.num_forests as f32;
                }
            }
            trees.push(Tree::new(nodes, bins.num_features()).expect("growing makes sound trees"));
        }
    }
    Forest { mean: mean as f32, trees }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: ForestRecipe = ForestRecipe {
        num_forests: 2,
        num_trees: 60,
        max_leaves: 4,
        learning_rate: 0.2,
        min_rows: 5,
        penalty: 1.0,
        sample_one_in: 2,
        num_split_features: 2,
    };

    /// `1` where the first two values lie on the same side of a half; the third is noise.
    fn checkers(num: usize) -> (Vec<Vec<f32>>, Vec<f32>) {
        let mut random = Random::new(3, 0);
        let rows: Vec<Vec<f32>> =
            (0..num).map(|_| (0..3).map(|_| random.below(1000) as f32 / 1000.0).collect()).collect();
        let targets = rows.iter().map(|row| f32::from(u8::from((row[0] < 0.5) == (row[1] < 0.5)))).collect();
        (rows, targets)
    }

    #[test]
    fn learns_what_needs_two_values_at_once() {
        let (rows, targets) = checkers(2000);
        let forest = fit(&rows, &targets, &RECIPE, 1);
        let wrong =
            rows.iter().zip(&targets).filter(|(row, target)| (forest.predict(row) - **target).abs() > 0.5);
        assert!(wrong.count() < 60);
    }

    #[test]
    fn a_seed_names_one_forest() {
        let (rows, targets) = checkers(300);
        assert_eq!(fit(&rows, &targets, &RECIPE, 1), fit(&rows, &targets, &RECIPE, 1));
        assert_ne!(fit(&rows, &targets, &RECIPE, 1), fit(&rows, &targets, &RECIPE, 2));
    }

    #[test]
    fn rows_that_are_all_alike_give_about_the_mean() {
        let forest = fit(&vec![vec![1.0, 2.0]; 20], &[[0.0, 1.0]; 10].concat(), &RECIPE, 1);
        // Only about: each tree has seen half of the rows.
        assert!((forest.predict(&[5.0, -1.0]) - 0.5).abs() < 0.1);
    }
}
