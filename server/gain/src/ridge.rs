//! Ridge regression on sparse rows, by conjugate gradients in the dual.
//!
//! Solves `(X X^T + penalty I) a = Y` and gives the weights `X^T a`, for both models at once. Every sum is taken in the
//! order of rows and columns, so the same input gives the same bits.

use crate::word_model::Pair;

/// Most steps of the descent. Rows of unit length and a penalty above 1 need about 20.
const MAX_STEPS: usize = 60;

/// The descent ends when what is left is this part of the targets, in squares.
const SMALL: f64 = 1e-7;

/// One example: its columns in ascending order, with their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparseRow {
    /// Which columns are not zero.
    pub(crate) columns: Vec<u32>,
    /// Their values.
    pub(crate) values: Vec<f32>,
}

impl SparseRow {
    /// The product with `weights`, one pair a column.
    pub(crate) fn dot(&self, weights: &[Pair]) -> Pair {
        let mut sums = [0.0; 2];
        for (&column, &value) in self.columns.iter().zip(&self.values) {
            for side in 0..2 {
                sums[side] += value * weights[column as usize][side];
            }
        }
        sums
    }
}

/// The weights, one pair a column, that predict `targets` from `rows`; the targets should have a mean of zero.
pub(crate) fn solve(rows: &[&SparseRow], targets: &[Pair], num_columns: usize, penalty: f32) -> Vec<Pair> {
    let mut solution = vec![[0.0; 2]; rows.len()];
    let mut rest = targets.to_vec();
    let mut direction = rest.clone();
    let mut squares = square(&rest);
    let goal = squares.map(|sum| sum * SMALL);
    let mut weights = vec![[0.0; 2]; num_columns];
    for _ in 0..MAX_STEPS {
        if (0..2).all(|side| squares[side] <= goal[side]) {
            break;
        }
        add_up(rows, &direction, &mut weights);
        let image: Vec<Pair> = rows
            .iter()
            .zip(&direction)
            .map(|(row, at)| {
                let product = row.dot(&weights);
                [0, 1].map(|side| product[side] + penalty * at[side])
            })
            .collect();
        let curvature = dot(&direction, &image);
        let step = [0, 1].map(|side| ratio(squares[side], curvature[side]));
        move_by(&mut solution, &direction, step);
        move_by(&mut rest, &image, step.map(|step| -step));
        let next = square(&rest);
        let kept = [0, 1].map(|side| ratio(next[side], squares[side]));
        for (at, left) in direction.iter_mut().zip(&rest) {
            *at = [0, 1].map(|side| left[side] + kept[side] * at[side]);
        }
        squares = next;
    }
    add_up(rows, &solution, &mut weights);
    weights
}

/// `weights = X^T factors`.
fn add_up(rows: &[&SparseRow], factors: &[Pair], weights: &mut [Pair]) {
    weights.fill([0.0; 2]);
    for (row, factor) in rows.iter().zip(factors) {
        for (&column, &value) in row.columns.iter().zip(&row.values) {
            let weight = &mut weights[column as usize];
            for side in 0..2 {
                weight[side] += value * factor[side];
            }
        }
    }
}

fn move_by(from: &mut [Pair], along: &[Pair], step: [f32; 2]) {
    for (value, direction) in from.iter_mut().zip(along) {
        for side in 0..2 {
            value[side] += step[side] * direction[side];
        }
    }
}

fn square(vector: &[Pair]) -> [f64; 2] {
    dot(vector, vector)
}

fn dot(left: &[Pair], right: &[Pair]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (a, b) in left.iter().zip(right) {
        for side in 0..2 {
            sums[side] += f64::from(a[side]) * f64::from(b[side]);
        }
    }
    sums
}

/// `part / whole`; 0 once a side has nothing left to solve.
fn ratio(part: f64, whole: f64) -> f32 {
    if whole > 0.0 { (part / whole) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entries: &[(u32, f32)]) -> SparseRow {
        let (columns, values) = entries.iter().copied().unzip();
        SparseRow { columns, values }
    }

    /// Minimises `sum (y - x w)^2 + penalty w^2`: its gradient at the solution must vanish.
    #[test]
    fn the_gradient_vanishes_at_the_solution() {
        let rows = [row(&[(0, 1.0)]), row(&[(0, 0.6), (1, 0.8)]), row(&[(1, 0.5), (2, -0.5)]), row(&[])];
        let rows: Vec<&SparseRow> = rows.iter().collect();
        let targets = [[1.0, 0.0], [-1.0, 0.5], [0.5, 0.0], [3.0, 0.0]];
        let weights = solve(&rows, &targets, 4, 0.5);
        for column in 0..4 {
            for side in 0..2 {
                let mut gradient = 0.5 * weights[column][side];
                for (row, target) in rows.iter().zip(&targets) {
                    let error = row.dot(&weights)[side] - target[side];
                    let at = row.columns.iter().position(|&found| found as usize == column);
                    gradient += at.map_or(0.0, |at| row.values[at] * error);
                }
                assert!(gradient.abs() < 1e-3, "column {column} side {side}: {gradient}");
            }
        }
    }

    #[test]
    fn targets_of_zero_give_weights_of_zero() {
        let one = row(&[(0, 1.0)]);
        assert_eq!(solve(&[&one], &[[0.0, 0.0]], 1, 1.0), [[0.0, 0.0]]);
        assert_eq!(solve(&[], &[], 1, 1.0), [[0.0, 0.0]]);
    }
}
