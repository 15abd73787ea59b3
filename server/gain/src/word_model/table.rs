//! The known terms, found by key.

use super::NUM_TARGETS;

/// Keys that agree in this many leading bits lie in one drawer. With 100,000 terms a drawer holds two of them.
const DRAWER_BITS: u32 = 16;

/// What is known of one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The term's hash.
    pub(crate) key: u32,
    /// Inverse document frequency in steps.
    pub(crate) idf: u16,
    /// One weight a target, in units of the model's scales.
    pub(crate) weights: [i16; NUM_TARGETS],
}

/// Entries in ascending order of key, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    /// Where each drawer begins, and last where the last one ends.
    drawers: Vec<u32>,
}

impl Table {
    /// A table of `entries`, or `None` if their keys do not ascend.
    pub(crate) fn new(entries: Vec<Entry>) -> Option<Self> {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            return None;
        }
        let mut drawers = vec![0; (1 << DRAWER_BITS) + 1];
        for entry in &entries {
            drawers[drawer(entry.key) + 1] += 1;
        }
        for idx in 1..drawers.len() {
            drawers[idx] += drawers[idx - 1];
        }
        Some(Self { entries, drawers })
    }

    /// The entries in ascending order of key.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of `key`, if there is one.
    pub(crate) fn find(&self, key: u32) -> Option<&Entry> {
        let idx = drawer(key);
        let entries = &self.entries[self.drawers[idx] as usize..self.drawers[idx + 1] as usize];
        entries.binary_search_by_key(&key, |entry| entry.key).ok().map(|place| &entries[place])
    }
}

fn drawer(key: u32) -> usize {
    (key >> (u32::BITS - DRAWER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u32) -> Entry {
        Entry { key, idf: 1, weights: [0; NUM_TARGETS] }
    }

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let keys = [0, 1, 0xffff, 0x1_0000, 0x1_0001, 0xfffe_ffff, u32::MAX];
        let table = Table::new(keys.map(entry).to_vec()).expect("the keys ascend");
        for key in keys {
            assert_eq!(table.find(key), Some(&entry(key)));
        }
        for key in [2, 0xfffe, 0x1_0002, 0x8000_0000, u32::MAX - 1] {
            assert_eq!(table.find(key), None);
        }
        assert_eq!(Table::new(vec![]).expect("nothing ascends").find(0), None);
    }

    #[test]
    fn keys_that_do_not_ascend_are_refused() {
        assert!(Table::new(vec![entry(2), entry(1)]).is_none());
        assert!(Table::new(vec![entry(1), entry(1)]).is_none());
    }
}
