//! A model as bytes: little-endian, every length checked, the whole under one checksum.
//!
//! `magic [8] | format u32 | payload length u32 | checksum of the payload u64 | payload`, where the payload is, in order:
//! line, quantiles, forest, smooth model, word model. A model read is a sound one: numbers are finite and trees end.

use super::GainModel;
use crate::calibration::{Calibration, Line, NUM_QUANTILES};
use crate::error::GainError;
use crate::forest::{Forest, Node, Tree};
use crate::reading::NUM_LEXICAL;
use crate::smooth_model::{NUM_CUTS, NUM_WAVES, Rank, SmoothModel, Surface};
use crate::stages::{NUM_FEATURES, Stages};
use crate::word_model::{Entry, NUM_TARGETS, Table, Targets, WordModel};

const MAGIC: &[u8; 8] = b"SPWYGAIN";

/// Rises whenever the bytes, or the meaning of a feature or a key, change.
const FORMAT: u32 = 2;

const HEADER_BYTES: usize = 24;
const ENTRY_BYTES: usize = 6 + 2 * NUM_TARGETS;

/// Most trees of a forest: they bound the time of a decision.
const MAX_TREES: u32 = 10_000;

const LEAF: u8 = 0;
const SPLIT: u8 = 1;

/// The bytes of `model`.
pub(super) fn write(model: &GainModel) -> Vec<u8> {
    let mut payload = Vec::new();
    let calibration = &model.calibration;
    put_floats(&mut payload, &[calibration.line.offset, calibration.line.slope]);
    put_floats(&mut payload, &calibration.quantiles);
    let Stages { words, smooth, forest } = &model.stages;
    put_floats(&mut payload, &[forest.mean]);
    payload.extend((forest.trees.len() as u32).to_le_bytes());
    for tree in &forest.trees {
        put_tree(&mut payload, tree);
    }
    for rank in smooth.ranks() {
        put_floats(&mut payload, &rank.cuts);
        put_floats(&mut payload, &[rank.mean, rank.factor]);
    }
    put_floats(&mut payload, smooth.weights());
    put_words(&mut payload, words);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(checksum(&payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn put_floats(bytes: &mut Vec<u8>, floats: &[f32]) {
    for float in floats {
        bytes.extend(float.to_le_bytes());
    }
}

fn put_tree(bytes: &mut Vec<u8>, tree: &Tree) {
    // A tree has 1 to 256 nodes, so that one less fits a byte.
    bytes.push((tree.nodes().len() - 1) as u8);
    for node in tree.nodes() {
        match *node {
            Node::Leaf(value) => {
                bytes.push(LEAF);
                put_floats(bytes, &[value]);
            }
            Node::Split { feature, threshold, low, high } => {
                bytes.extend([SPLIT, feature, low, high]);
                put_floats(bytes, &[threshold]);
            }
        }
    }
}

fn put_words(bytes: &mut Vec<u8>, words: &WordModel) {
    put_floats(bytes, &words.means);
    put_floats(bytes, &words.scales);
    bytes.extend(words.unknown_idf.to_le_bytes());
    bytes.extend((words.table.entries().len() as u32).to_le_bytes());
    for entry in words.table.entries() {
        bytes.extend(entry.key.to_le_bytes());
        bytes.extend(entry.idf.to_le_bytes());
        entry.weights.iter().for_each(|weight| bytes.extend(weight.to_le_bytes()));
    }
}

/// The model of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<GainModel, GainError> {
    let mut header = Reader { rest: bytes };
    if header.take::<8>()? != *MAGIC {
        return Err(damaged("it does not begin as a gain model does"));
    }
    let found = header.u32()?;
    if found != FORMAT {
        return Err(GainError::Format { found, known: FORMAT });
    }
    let num_bytes = header.u32()? as usize;
    let sum = u64::from_le_bytes(header.take()?);
    let payload = header.rest;
    if payload.len() != num_bytes {
        return Err(damaged("its length is not the one it states"));
    }
    if checksum(payload) != sum {
        return Err(damaged("its checksum is wrong"));
    }
    read_payload(Reader { rest: payload })
}

fn read_payload(mut reader: Reader<'_>) -> Result<GainModel, GainError> {
    let line = Line { offset: reader.float()?, slope: reader.float()? };
    let quantiles = reader.floats(NUM_QUANTILES)?;
    if line.slope <= 0.0 || !quantiles.is_sorted() {
        return Err(damaged("its calibration does not rise"));
    }
    let forest = read_forest(&mut reader)?;
    let smooth = read_smooth(&mut reader)?;
    let words = read_words(&mut reader)?;
    Ok(GainModel::new(Stages { words, smooth, forest }, Calibration { line, quantiles }))
}

fn read_forest(reader: &mut Reader<'_>) -> Result<Forest, GainError> {
    let mean = reader.float()?;
    let num_trees = reader.u32()?;
    if num_trees > MAX_TREES {
        return Err(damaged("it has more than 10000 trees"));
    }
    let trees = (0..num_trees).map(|_| read_tree(reader)).collect::<Result<_, _>>()?;
    Ok(Forest { mean, trees })
}

fn read_tree(reader: &mut Reader<'_>) -> Result<Tree, GainError> {
    let num_nodes = usize::from(reader.byte()?) + 1;
    let mut nodes = Vec::with_capacity(num_nodes);
    for _ in 0..num_nodes {
        nodes.push(match reader.byte()? {
            LEAF => Node::Leaf(reader.float()?),
            SPLIT => {
                let [feature, low, high] = reader.take()?;
                Node::Split { feature, low, high, threshold: reader.float()? }
            }
            _ => return Err(damaged("a node is neither leaf nor split")),
        });
    }
    Tree::new(nodes, NUM_FEATURES).ok_or_else(|| damaged("a tree does not hold together"))
}

fn read_smooth(reader: &mut Reader<'_>) -> Result<SmoothModel, GainError> {
    let mut ranks = Vec::with_capacity(NUM_LEXICAL);
    for _ in 0..NUM_LEXICAL {
        let cuts = reader.floats(NUM_CUTS)?;
        if !cuts.is_sorted() {
            return Err(damaged("its ranks do not rise"));
        }
        ranks.push(Rank { cuts, mean: reader.float()?, factor: reader.float()? });
    }
    let surface = Surface::new(ranks).ok_or_else(|| damaged("its surface has another size"))?;
    let weights = reader.floats(NUM_WAVES)?;
    SmoothModel::new(surface, weights).ok_or_else(|| damaged("its waves have another number"))
}

fn read_words(reader: &mut Reader<'_>) -> Result<WordModel, GainError> {
    let means = reader.targets()?;
    let scales = reader.targets()?;
    let unknown_idf = u16::from_le_bytes(reader.take()?);
    let num_entries = reader.u32()? as usize;
    // Checked before room is made for them.
    if reader.rest.len() != num_entries * ENTRY_BYTES {
        return Err(damaged("its number of terms is not the one it states"));
    }
    let mut entries = Vec::with_capacity(num_entries);
    for _ in 0..num_entries {
        entries.push(Entry {
            key: reader.u32()?,
            idf: u16::from_le_bytes(reader.take()?),
            weights: [reader.weight()?, reader.weight()?, reader.weight()?],
        });
    }
    let table = Table::new(entries).ok_or_else(|| damaged("its terms are out of order"))?;
    Ok(WordModel { means, scales, unknown_idf, table })
}

/// Takes values off the front of bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const NUM: usize>(&mut self) -> Result<[u8; NUM], GainError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, GainError> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, GainError> {
        self.take().map(u32::from_le_bytes)
    }

    fn weight(&mut self) -> Result<i16, GainError> {
        self.take().map(i16::from_le_bytes)
    }

    fn targets(&mut self) -> Result<Targets, GainError> {
        Ok([self.float()?, self.float()?, self.float()?])
    }

    fn floats(&mut self, num: usize) -> Result<Vec<f32>, GainError> {
        (0..num).map(|_| self.float()).collect()
    }

    fn float(&mut self) -> Result<f32, GainError> {
        let float = f32::from_le_bytes(self.take()?);
        // Far from the largest number, so that no sum of a prompt's values overflows.
        if float.abs() > 1e12 || float.is_nan() {
            return Err(damaged("a number is not finite"));
        }
        Ok(float)
    }
}

fn damaged(what: &'static str) -> GainError {
    GainError::Damaged { what }
}

/// FNV-1a over words of eight bytes: it finds accidents, not forgeries.
fn checksum(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(padded)
    };
    bytes.chunks(8).map(word).fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        let mixed = (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        mixed ^ (mixed >> 32)
    })
}

#[cfg(test)]
mod tests;
