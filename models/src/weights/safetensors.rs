//! Safetensors folders: one file, or shards that `model.safetensors.index.json` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use spillway_kernels::WeightType;

use super::mapped_file::MappedFile;
use super::{Entry, StoredType, WeightStore};
use crate::error::ModelError;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
/// Longest index that is read: that of a thousand layers is below a megabyte.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The part of an index that says which shard holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Maps every file of the folder and adds its tensors to `store`.
pub(super) fn open_folder(folder: &Path, store: &mut WeightStore) -> Result<(), ModelError> {
    let index_path = folder.join(INDEX_FILE);
    if folder.join(SINGLE_FILE).is_file() {
        return open_file(&folder.join(SINGLE_FILE), store);
    }
    if !index_path.is_file() {
        let problem = "the folder has neither model.safetensors nor model.safetensors.index.json";
        return Err(ModelError::NotAModel { path: folder.to_owned(), problem });
    }
    let index = read_index(&index_path)?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    for shard in shards {
        // A shard is a file of this very folder: an index from elsewhere must not reach out of it.
        if shard.contains(['/', '\\']) || shard == ".." {
            let problem = format!("shard `{shard}` is no plain file name");
            return Err(ModelError::Malformed { path: index_path, problem });
        }
        open_file(&folder.join(shard), store)?;
    }
    let missing: Vec<String> = index.weight_map.into_keys().filter(|name| !store.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ModelError::Tensors { path: folder.to_owned(), missing, left_over: Vec::new() })
}

fn read_index(path: &Path) -> Result<Index, ModelError> {
    let bytes = crate::source::read_limited(path, MAX_INDEX_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ModelError::Malformed { path: path.to_owned(), problem: error.to_string() })
}

fn open_file(path: &Path, store: &mut WeightStore) -> Result<(), ModelError> {
    let file = MappedFile::open(path)?;
    // The crate checks the header against the file: offsets inside it, without gaps, sizes that fit the shapes.
    let (header_bytes, metadata) = SafeTensors::read_metadata(&file)
        .map_err(|error| ModelError::Malformed { path: path.to_owned(), problem: error.to_string() })?;
    let data_start = header_bytes + std::mem::size_of::<u64>();
    let data_len = file.len().saturating_sub(data_start);
    let file_idx = store.files.len();
    store.files.push(file);
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        if start > end || end > data_len {
            let problem = format!("tensor `{name}` ends at byte {end} of {data_len}");
            return Err(ModelError::Malformed { path: path.to_owned(), problem });
        }
        let entry = Entry {
            file_idx,
            bytes: data_start + start..data_start + end,
            shape: info.shape.clone(),
            stored_type: stored_type(info.dtype),
        };
        store.insert(name, entry)?;
    }
    Ok(())
}

fn stored_type(dtype: Dtype) -> StoredType {
    match dtype {
        Dtype::F32 => StoredType::Known(WeightType::F32),
        Dtype::F16 => StoredType::Known(WeightType::F16),
        Dtype::BF16 => StoredType::Known(WeightType::BF16),
        other => StoredType::Other(format!("{other:?}")),
    }
}
