//! GGUF files that are whole, and each way in which one lies.

use super::metadata::GgufValue;
use super::writer::GgufWriter;
use super::*;

fn sample() -> Vec<u8> {
    GgufWriter::default()
        .pair("general.architecture", GgufValue::Text("llama".to_owned()))
        .pair("llama.block_count", GgufValue::Unsigned(2))
        .pair("tokens", GgufValue::Texts(vec!["a".to_owned(), "é".to_owned()]))
        .pair("scores", GgufValue::Array(vec![GgufValue::Float(-1.0), GgufValue::Float(2.5)]))
        .tensor("one", &[2, 3], 0, (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect())
        .tensor("two", &[32], 8, vec![0; 34])
        .finish()
}

fn open(bytes: &[u8]) -> Result<(WeightStore, GgufMetadata), ModelError> {
    let folder = crate::weights::tests::temporary_folder();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("the folder takes a file");
    WeightStore::open_gguf(&path)
}

#[test]
fn reads_tensors_and_metadata_by_name() {
    let (store, metadata) = open(&sample()).expect("the file is well formed");
    let one = store.tensor("one", &[2, 3]).expect("it has this shape");
    assert_eq!(one.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(store.tensor("two", &[32]).expect("it is there").weight_type, WeightType::Q8_0);
    assert_eq!(metadata.required_u32("llama.block_count").expect("an integer"), 2);
    assert_eq!(metadata.texts("tokens").expect("texts"), ["a", "é"]);
    assert_eq!(metadata.numbers("scores").expect("numbers"), [-1.0, 2.5]);
    let error = metadata.u32("general.architecture").expect_err("it is a text").to_string();
    assert!(error.contains("`general.architecture` is a string, expected an integer"), "{error}");
    let error = store.tensor("one", &[3, 2]).expect_err("the shape differs").to_string();
    assert_eq!(error, "tensor `one` has shape [2, 3], the configuration calls for [3, 2]");
}

#[test]
fn every_truncation_is_an_error_and_no_panic() {
    let bytes = sample();
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "a file cut to {len} bytes was read");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut spoiled = bytes.clone();
            spoiled[at] = value;
            // Whether it is still well formed does not matter here.
            drop(open(&spoiled));
        }
    }
}

#[test]
fn a_lying_count_is_refused_before_anything_is_allocated() {
    let mut bytes = sample();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = open(&bytes).expect_err("no file holds that many").to_string();
    assert!(error.contains("names 18446744073709551615 tensors"), "{error}");
    let mut bytes = sample();
    bytes[16..24].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let error = open(&bytes).expect_err("no file holds that many").to_string();
    assert!(error.contains("names 1099511627776 metadata pairs"), "{error}");
}

#[test]
fn a_count_is_compared_with_the_entries_that_the_rest_of_the_file_can_hold() {
    let mut bytes = sample();
    let num_tensors = bytes.len() as u64 / 4;
    bytes[8..16].copy_from_slice(&num_tensors.to_le_bytes());
    let error = open(&bytes).expect_err("an entry takes more than four bytes").to_string();
    assert!(error.contains(&format!("names {num_tensors} tensors")), "{error}");
}

#[test]
fn what_exists_twice_is_named() {
    let twice = GgufWriter::default().tensor("x", &[1], 0, vec![0; 4]).tensor("x", &[1], 0, vec![0; 4]);
    let error = open(&twice.finish()).expect_err("which of them is meant?").to_string();
    assert!(error.contains("tensor `x` exists twice"), "{error}");
    let twice = GgufWriter::default().pair("k", GgufValue::Bool(true)).pair("k", GgufValue::Bool(false));
    let error = open(&twice.finish()).expect_err("which of them is meant?").to_string();
    assert!(error.contains("metadata `k` exists twice"), "{error}");
}

/// Goal: tensors begin where the file's own alignment says. Method: headers of several lengths, among them some whose
/// end is a multiple of 32 but not of 64.
#[test]
fn tensors_begin_at_the_alignment_that_the_file_names() {
    let data: Vec<u8> = (1..=8).flat_map(|number| (number as f32).to_le_bytes()).collect();
    let mut num_moved = 0;
    for key_len in [0, 8, 16, 24, 32, 40, 48, 56] {
        let mut bytes = GgufWriter::default()
            .pair("general.alignment", GgufValue::Unsigned(64))
            .pair(&"k".repeat(key_len), GgufValue::Bool(true))
            .tensor("x", &[8], 0, data.clone())
            .finish();
        let begins_at = bytes.len() - data.len();
        if !begins_at.is_multiple_of(64) {
            bytes.splice(begins_at..begins_at, [0; 32]);
            num_moved += 1;
        }
        let (store, _) = open(&bytes).expect("the file is well formed");
        let numbers = store.tensor("x", &[8]).expect("it is there").to_f32();
        assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "a key of {key_len} bytes");
    }
    assert!(num_moved > 0, "every header ends at a multiple of 64");
}

#[test]
fn other_formats_and_versions_are_named() {
    let check = |spoil: fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = sample();
        spoil(&mut bytes);
        let error = open(&bytes).expect_err("the file was spoiled").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|bytes| bytes[0] = b'X', "does not begin with `GGUF`");
    check(|bytes| bytes[4] = 1, "its version is 1, versions 2 and 3 are read");
    check(|bytes| bytes[4..8].copy_from_slice(&3_u32.to_be_bytes()), "big-endian");
}

#[test]
fn a_type_that_is_not_computed_with_is_refused_by_name_when_asked_for() {
    let bytes = GgufWriter::default().tensor("x", &[256], 19, vec![0; 144]).finish();
    let (store, _) = open(&bytes).expect("the header is well formed");
    let error = store.tensor("x", &[256]).expect_err("nothing computes with it").to_string();
    assert!(error.contains("tensor `x` of type IQ1_S"), "{error}");
    assert!(error.contains("Q5_K, Q6_K; take a file of the model in one of these"), "{error}");
}

#[test]
fn every_type_that_is_computed_with_has_its_number() {
    for (code, weight_type) in
        [(6, "Q5_0"), (7, "Q5_1"), (10, "Q2_K"), (11, "Q3_K"), (12, "Q4_K"), (14, "Q6_K")]
    {
        let StoredType::Known(known) = stored_type(code) else { panic!("{weight_type} is not known") };
        assert_eq!(known.name(), weight_type);
        let bytes = vec![0; known.block_bytes()];
        let file = GgufWriter::default().tensor("x", &[known.block_len()], code, bytes).finish();
        let (store, _) = open(&file).expect("the header is well formed");
        let tensor = store.tensor("x", &[known.block_len()]).expect("it is known");
        assert_eq!(tensor.weight_type, known);
    }
}
