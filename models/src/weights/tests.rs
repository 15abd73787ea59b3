//! Stores of both formats: what is found, what is missing, what is left over.

use std::collections::HashMap;

use ::safetensors::tensor::{Dtype, TensorView};

use super::*;

/// A folder that is removed when dropped.
pub(crate) fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("the system has a temporary folder")
}

fn write_shard(folder: &Path, file: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).expect("bytes fit the shape"))
        })
        .collect();
    let bytes = ::safetensors::serialize(views, None::<HashMap<String, String>>).expect("it serialises");
    std::fs::write(folder.join(file), bytes).expect("the folder takes a file");
}

#[test]
fn one_file_is_read_with_names_shapes_and_types() {
    let folder = temporary_folder();
    let values = [1.0_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    write_shard(folder.path(), "model.safetensors", &[("a", Dtype::F32, &[2, 1], values)]);
    let store = WeightStore::open_safetensors(folder.path()).expect("the folder is well formed");
    assert_eq!(store.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(store.tensor("a", &[2, 1]).expect("it is there").to_f32(), [1.0, -2.0]);
}

#[test]
fn shards_are_read_by_their_index_and_missing_tensors_are_all_named() {
    let folder = temporary_folder();
    write_shard(folder.path(), "s1.safetensors", &[("a", Dtype::BF16, &[1], vec![0x80, 0x3f])]);
    write_shard(folder.path(), "s2.safetensors", &[("b", Dtype::F16, &[1], vec![0x00, 0x3c])]);
    let index = |map: &str| {
        std::fs::write(
            folder.path().join("model.safetensors.index.json"),
            format!("{{\"weight_map\":{map}}}"),
        )
        .expect("the folder takes a file");
        WeightStore::open_safetensors(folder.path())
    };
    let store = index(r#"{"a":"s1.safetensors","b":"s2.safetensors"}"#).expect("the index is right");
    assert_eq!(store.tensor("a", &[1]).expect("in shard 1").to_f32(), [1.0]);
    assert_eq!(store.tensor("b", &[1]).expect("in shard 2").to_f32(), [1.0]);
    let error = index(r#"{"a":"s1.safetensors","c":"s1.safetensors","d":"s2.safetensors"}"#)
        .expect_err("two tensors are missing")
        .to_string();
    assert!(error.contains("missing (2): c, d"), "{error}");
    let error = index(r#"{"a":"../s1.safetensors"}"#).expect_err("it leaves the folder").to_string();
    assert!(error.contains("no plain file name"), "{error}");
}

#[test]
fn a_damaged_file_is_named() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("model.safetensors"), [0xff; 64]).expect("the folder takes a file");
    let error = WeightStore::open_safetensors(folder.path()).expect_err("the header lies").to_string();
    assert!(error.contains("model.safetensors is malformed"), "{error}");
    let empty = temporary_folder();
    let error = WeightStore::open_safetensors(empty.path()).expect_err("nothing is there").to_string();
    assert!(error.contains("neither model.safetensors"), "{error}");
}
