//! Rows of values as columns of small bins, so that a split is found by counting.

/// Most bins of a feature.
pub(super) const MAX_BINS: usize = 64;

/// All rows, binned.
#[derive(Debug)]
pub(super) struct Bins {
    num_rows: usize,
    /// For every feature the largest value of each bin but the last, ascending.
    edges: Vec<Vec<f32>>,
    /// For every feature the bin of every row.
    columns: Vec<Vec<u8>>,
}

impl Bins {
    /// Bins `rows`, which are all of one length.
    pub(super) fn new(rows: &[Vec<f32>]) -> Self {
        let num_features = rows.first().map_or(0, Vec::len);
        let mut edges = Vec::with_capacity(num_features);
        let mut columns = Vec::with_capacity(num_features);
        for feature in 0..num_features {
            let values: Vec<f32> = rows.iter().map(|row| row[feature]).collect();
            let cuts = cuts(&values);
            columns
                .push(values.iter().map(|&value| cuts.partition_point(|&cut| cut < value) as u8).collect());
            edges.push(cuts);
        }
        Self { num_rows: rows.len(), edges, columns }
    }

    /// How many rows there are.
    pub(super) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// How many features a row has.
    pub(super) fn num_features(&self) -> usize {
        self.columns.len()
    }

    /// The bins of `feature`, one a row.
    pub(super) fn column(&self, feature: usize) -> &[u8] {
        &self.columns[feature]
    }

    /// The largest value of bin `bin` of `feature`, or `None` for the last bin.
    pub(super) fn edge(&self, feature: usize, bin: usize) -> Option<f32> {
        self.edges[feature].get(bin).copied()
    }
}

/// Where to cut `values`: between any two of them where they are few, else so that the bins are about equally full.
fn cuts(values: &[f32]) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let mut cuts: Vec<f32> = if distinct.len() <= MAX_BINS {
        distinct.windows(2).map(|pair| pair[0].midpoint(pair[1])).collect()
    } else {
        (1..MAX_BINS).map(|bin| sorted[bin * (sorted.len() - 1) / MAX_BINS]).collect()
    };
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each() {
        let bins = Bins::new(&[vec![3.0], vec![1.0], vec![3.0], vec![7.0]]);
        assert_eq!(bins.column(0), [1, 0, 1, 2]);
        assert_eq!(bins.edge(0, 0), Some(2.0));
        assert_eq!(bins.edge(0, 2), None);
    }

    #[test]
    fn many_values_fill_their_bins_alike() {
        let rows: Vec<Vec<f32>> = (0..6400).map(|idx| vec![(idx * 37 % 6400) as f32]).collect();
        let bins = Bins::new(&rows);
        let mut counts = [0; MAX_BINS];
        bins.column(0).iter().for_each(|&bin| counts[usize::from(bin)] += 1);
        assert!(counts.iter().all(|&count| (98..=102).contains(&count)), "{counts:?}");
    }
}
