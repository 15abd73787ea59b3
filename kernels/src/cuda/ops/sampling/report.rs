//! What the kernels tell of rows, as the host reads it back.

use super::MAX_TOP;

/// Words of a row's result: token, bits of the log-probability, status, rank.
pub(super) const RESULT_WORDS: usize = 4;
/// Words of a row's likeliest tokens: token and bits of the log-probability of each.
pub(super) const TOP_WORDS: usize = 2 * MAX_TOP;

/// Words of a report for each row. The results of all rows come first, then the likeliest tokens of all: where no row asks
/// for a ranking, reading back the first four words a row is enough.
pub const REPORT_WORDS: usize = RESULT_WORDS + TOP_WORDS;

/// Stands where the vocabulary has fewer tokens than were asked for.
const NO_TOKEN: u32 = u32::MAX;

const STATUS_OK: u32 = 0;
const STATUS_NOT_FINITE: u32 = 1;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowOutcome {
    /// It has a token.
    Chosen {
        /// The token that was chosen or scored.
        token: u32,
        /// Its log-probability under the logits as the model gave them.
        logprob: f32,
        /// How many tokens are at least as likely, itself included; 0 if the row asked for no ranking.
        rank: u32,
    },
    /// A logit is NaN or positive infinity, or all are negative infinity.
    NotFinite {
        /// The lowest such token; 0 if all are negative infinity.
        token: u32,
    },
    /// The row's rules exclude every token.
    NoTokenLeft,
}

/// A report that was read back, as bytes.
#[derive(Debug, Clone, Copy)]
pub struct SamplingReport<'a> {
    bytes: &'a [u8],
    rows: usize,
}

impl<'a> SamplingReport<'a> {
    /// A report of `rows` rows: all of it, or the results alone. `None` if it is shorter.
    pub fn new(bytes: &'a [u8], rows: usize) -> Option<Self> {
        (bytes.len() >= rows * RESULT_WORDS * 4).then_some(Self { bytes, rows })
    }

    /// Bytes of the results of `rows` rows, with or without the likeliest tokens.
    pub fn num_bytes(rows: usize, has_tops: bool) -> usize {
        rows * if has_tops { REPORT_WORDS } else { RESULT_WORDS } * 4
    }

    /// What became of a row. Of an idle one nothing was written, so do not ask.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn outcome(self, row: usize) -> RowOutcome {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let [token, logprob, status, rank] = self.words(row * RESULT_WORDS);
        match status {
            STATUS_OK => RowOutcome::Chosen { token, logprob: f32::from_bits(logprob), rank },
            STATUS_NOT_FINITE => RowOutcome::NotFinite { token },
            _ => RowOutcome::NoTokenLeft,
        }
    }

    /// The `count` likeliest tokens of a row that asked for at least as many, with their log-probabilities.
    ///
    /// # Panics
    ///
    /// If there is no such row, or the report was read back without them.
    pub fn tops(self, row: usize, count: usize) -> impl Iterator<Item = (u32, f32)> + use<'a> {
        assert!(row < self.rows && count <= MAX_TOP, "{count} tokens of row {row} of {}", self.rows);
        let first = self.rows * RESULT_WORDS + row * TOP_WORDS;
        (0..count)
            .map(move |i| self.words::<2>(first + 2 * i))
            .take_while(|[token, _]| *token != NO_TOKEN)
            .map(|[token, logprob]| (token, f32::from_bits(logprob)))
    }

    fn words<const COUNT: usize>(self, first: usize) -> [u32; COUNT] {
        let bytes = &self.bytes[4 * first..4 * (first + COUNT)];
        let (words, _) = bytes.as_chunks::<4>();
        std::array::from_fn(|i| u32::from_ne_bytes(words[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_the_kernels_write_it() {
        let rows = 3;
        let mut words = vec![0_u32; rows * REPORT_WORDS];
        words[..4].copy_from_slice(&[7, (-1.5_f32).to_bits(), 0, 2]);
        words[4..8].copy_from_slice(&[9, 0, 1, 0]);
        words[8..12].copy_from_slice(&[0, 0, 2, 0]);
        words[12..18].copy_from_slice(&[8, (-0.5_f32).to_bits(), 7, (-1.5_f32).to_bits(), NO_TOKEN, 0]);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let report = SamplingReport::new(&bytes, rows).expect("it is whole");
        assert_eq!(report.outcome(0), RowOutcome::Chosen { token: 7, logprob: -1.5, rank: 2 });
        assert_eq!(report.outcome(1), RowOutcome::NotFinite { token: 9 });
        assert_eq!(report.outcome(2), RowOutcome::NoTokenLeft);
        assert_eq!(report.tops(0, 5).collect::<Vec<_>>(), [(8, -0.5), (7, -1.5)]);
        assert!(SamplingReport::new(&bytes[..47], rows).is_none());
        assert_eq!(bytes.len(), SamplingReport::num_bytes(rows, true));
    }
}
