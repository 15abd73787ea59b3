//! Examples as rows of the ridge regressions: one column a term.

use crate::reading::Reading;
use crate::ridge::SparseRow;
use crate::word_model::{idf_steps, values};

/// A term must stand in this many prompts to have a weight.
const MIN_PROMPTS: usize = 2;

/// Other terms count in a prompt's length with this part of a rarest term's frequency.
const UNKNOWN_SHARE: u16 = 4;

/// The terms of some examples.
pub(super) struct TermRows {
    /// One an example.
    pub(super) rows: Vec<SparseRow>,
    /// Key and inverse document frequency of every column, in ascending order of key.
    pub(super) columns: Vec<(u32, u16)>,
    /// What counts for the inverse document frequency of other terms.
    pub(super) unknown_idf: u16,
}

impl TermRows {
    pub(super) fn new(readings: &[&Reading]) -> Self {
        let columns = columns(readings);
        let unknown_idf = idf_steps(readings.len(), 0) / UNKNOWN_SHARE;
        let rows = readings.iter().map(|reading| row(reading, &columns, unknown_idf)).collect();
        Self { rows, columns, unknown_idf }
    }
}

/// The terms that stand in enough prompts: key and inverse document frequency, in ascending order of key.
fn columns(readings: &[&Reading]) -> Vec<(u32, u16)> {
    let mut keys: Vec<u32> =
        readings.iter().flat_map(|reading| reading.terms.iter().map(|term| term.key)).collect();
    keys.sort_unstable();
    let runs = keys.chunk_by(|a, b| a == b).filter(|run| run.len() >= MIN_PROMPTS);
    runs.map(|run| (run[0], idf_steps(readings.len(), run.len()))).collect()
}

fn row(reading: &Reading, columns: &[(u32, u16)], unknown_idf: u16) -> SparseRow {
    let places: Vec<Option<usize>> = reading
        .terms
        .iter()
        .map(|term| columns.binary_search_by_key(&term.key, |&(key, _)| key).ok())
        .collect();
    let idf = places.iter().map(|place| place.map_or(unknown_idf, |place| columns[place].1));
    let mut row = SparseRow::default();
    for (place, value) in places.iter().zip(values(&reading.terms, idf)) {
        if let Some(place) = place {
            row.columns.push(*place as u32);
            row.values.push(value);
        }
    }
    row
}
