//! Models as bytes, whole and damaged.

use super::*;

fn model() -> GainModel {
    let split = Node::Split { feature: 2, threshold: 0.5, low: 1, high: 2 };
    let tree = Tree::new(vec![split, Node::Leaf(-0.25), Node::Leaf(0.25)], NUM_FEATURES).expect("a tree");
    let line = Line { offset: 0.1, slope: 0.9 };
    let terms = [(3, 2048, [0.1, -0.3, 0.4]), (70_000, 9999, [0.0, 0.2, -0.1])];
    let cuts: Vec<f32> = (0..NUM_CUTS as u16).map(f32::from).collect();
    let ranks = vec![Rank { cuts, mean: 0.5, factor: 0.75 }; NUM_LEXICAL];
    let weights: Vec<f32> = (0..NUM_WAVES as u16).map(|wave| f32::from(wave) / 512.0 - 0.5).collect();
    let surface = Surface::new(ranks).expect("a rank for every value");
    let stages = Stages {
        words: WordModel::new([0.5, 0.75, 0.25], 9, &terms).expect("keys ascend"),
        smooth: SmoothModel::new(surface, weights).expect("a weight for every wave"),
        forest: Forest { mean: 0.125, trees: vec![tree; 3] },
    };
    GainModel::new(stages, Calibration::new(line, (0..2000_u16).map(f32::from)))
}

/// `bytes` with their checksum and length set right, to see what the checks behind them find.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes[HEADER_BYTES..]);
    let num_bytes = (bytes.len() - HEADER_BYTES) as u32;
    bytes[12..16].copy_from_slice(&num_bytes.to_le_bytes());
    bytes[16..24].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn what(bytes: &[u8]) -> String {
    GainModel::from_bytes(bytes).expect_err("these bytes are no model").to_string()
}

#[test]
fn a_model_comes_back_as_it_was() {
    let model = model();
    let bytes = model.to_bytes();
    let back = GainModel::from_bytes(&bytes).expect("the bytes are whole");
    assert_eq!(back, model);
    assert_eq!(back.to_bytes(), bytes);
}

#[test]
fn bytes_that_end_early_or_late_are_refused() {
    let bytes = model().to_bytes();
    for num_bytes in (0..HEADER_BYTES).chain([100, 4060, 9000, 18_000, bytes.len() - 1]) {
        let cut = bytes[..num_bytes].to_vec();
        GainModel::from_bytes(&cut).expect_err("the bytes are cut");
        if num_bytes >= HEADER_BYTES {
            let what = what(&sealed(cut));
            assert!(what.contains("ends too early") || what.contains("number of terms"), "{what}");
        }
    }
    let longer = [bytes.clone(), vec![0]].concat();
    assert!(what(&longer).contains("length"));
    assert!(what(&sealed(longer)).contains("number of terms"));
}

#[test]
fn one_wrong_bit_is_found_wherever_it_is() {
    let bytes = model().to_bytes();
    for place in [0, 7, 9, 13, 17, 30, 4040, 4100, 9000, 18_000, bytes.len() / 2, bytes.len() - 1] {
        let mut wrong = bytes.clone();
        wrong[place] ^= 4;
        GainModel::from_bytes(&wrong).expect_err("one bit is wrong");
    }
    let mut other = bytes;
    other[8] = 9;
    assert!(what(&other).contains("has format 9, this program reads format 2"));
}

#[test]
fn numbers_trees_and_calibrations_that_make_no_sense_are_refused() {
    let bytes = model().to_bytes();
    let patched = |place: usize, patch: &[u8]| {
        let mut patched = bytes.clone();
        patched[HEADER_BYTES + place..][..patch.len()].copy_from_slice(patch);
        what(&sealed(patched))
    };
    let forest = (2 + NUM_QUANTILES) * 4;
    assert!(patched(0, &f32::NAN.to_le_bytes()).contains("not finite"));
    assert!(patched(4, &(-1.0_f32).to_le_bytes()).contains("does not rise"));
    assert!(patched(8, &1e9_f32.to_le_bytes()).contains("does not rise"));
    assert!(patched(forest + 4, &u32::MAX.to_le_bytes()).contains("10000 trees"));
    let root = forest + 9;
    assert!(patched(root, &[7]).contains("neither leaf nor split"));
    assert!(patched(root + 1, &[200]).contains("hold together"), "an unknown feature");
    let words = bytes.len() - HEADER_BYTES - 2 * ENTRY_BYTES - 4 - 2 - 8 * NUM_TARGETS;
    let ranks = words - 4 * NUM_WAVES - NUM_LEXICAL * 4 * (NUM_CUTS + 2);
    assert!(patched(ranks, &1e9_f32.to_le_bytes()).contains("ranks do not rise"));
    assert!(patched(words - 4, &f32::INFINITY.to_le_bytes()).contains("not finite"), "the last wave");
    let last_key = bytes.len() - HEADER_BYTES - ENTRY_BYTES;
    assert!(patched(last_key, &3_u32.to_le_bytes()).contains("out of order"));
    assert!(patched(last_key - ENTRY_BYTES - 4, &u32::MAX.to_le_bytes()).contains("number of terms"));
    assert!(patched(root + 2, &[0]).contains("hold together"), "a way back to the root");
}
