//! GGUF files, versions 2 and 3: the tensor list, and metadata by way of [`GgufMetadata`].
//!
//! The header is read straight from the map. Every count and length is compared with the bytes that are left before
//! anything is allocated for it, so a lying header costs an error and no memory.
//!
//! Source: the GGUF specification in ggml's documentation.

use std::path::Path;

use spillway_kernels::WeightType;

use super::mapped_file::MappedFile;
use super::{Entry, StoredType, WeightStore};
use crate::error::ModelError;

mod cut;
mod metadata;
mod reader;
#[cfg(test)]
pub(crate) mod writer;

pub use cut::cut_layers;
pub(crate) use metadata::GgufMetadata;
#[cfg(test)]
pub(crate) use metadata::GgufValue;

use reader::{Problem, Reader};

const MAGIC: [u8; 4] = *b"GGUF";
/// Most dimensions of a tensor in ggml.
const MAX_DIMENSIONS: u32 = 4;
/// Shortest entry of the tensor list: an empty name, no dimension, a type and an offset.
const MIN_TENSOR_INFO_BYTES: usize = 24;
const DEFAULT_ALIGNMENT: u32 = 32;

/// One entry of the tensor list.
struct TensorInfo {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    type_code: u32,
    /// From the start of the data.
    offset: u64,
}

/// Maps a file, adds its tensors to `store`, and answers with its metadata.
pub(super) fn open_file(path: &Path, store: &mut WeightStore) -> Result<GgufMetadata, ModelError> {
    let file = MappedFile::open(path)?;
    let malformed = |problem: Problem| ModelError::Malformed { path: path.to_owned(), problem: problem.0 };
    let (metadata, tensors, data_start) = read_header(path, &file).map_err(malformed)?;
    let file_len = file.len();
    let file_idx = store.files.len();
    store.files.push(file);
    for info in tensors {
        let entry = place(&info, file_idx, data_start, file_len).map_err(malformed)?;
        store.insert(info.name, entry)?;
    }
    Ok(metadata)
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<(GgufMetadata, Vec<TensorInfo>, usize), Problem> {
    let mut reader = Reader::new(bytes);
    read_version(&mut reader)?;
    let num_tensors = reader.u64()?;
    let num_pairs = reader.u64()?;
    let metadata = GgufMetadata::read(path, &mut reader, num_pairs)?;
    let num_tensors = reader.count("tensors", num_tensors, MIN_TENSOR_INFO_BYTES)?;
    let tensors = (0..num_tensors).map(|_| read_info(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    let alignment = metadata.alignment(DEFAULT_ALIGNMENT)? as usize;
    let data_start = reader.position().next_multiple_of(alignment);
    Ok((metadata, tensors, data_start))
}

/// The magic number, and a version that is read.
fn read_version(reader: &mut Reader<'_>) -> Result<u32, Problem> {
    if reader.array::<4>()? != MAGIC {
        return Err(Problem("it does not begin with `GGUF`".to_owned()));
    }
    match reader.u32()? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => {
            Err(Problem("it is big-endian; convert it to little-endian first".to_owned()))
        }
        version => Err(Problem(format!("its version is {version}, versions 2 and 3 are read"))),
    }
}

fn read_info(reader: &mut Reader<'_>) -> Result<TensorInfo, Problem> {
    let name = reader.string()?;
    let num_dimensions = reader.u32()?;
    if num_dimensions > MAX_DIMENSIONS {
        return Err(Problem(format!(
            "tensor `{name}` has {num_dimensions} dimensions, limit {MAX_DIMENSIONS}"
        )));
    }
    let mut shape = Vec::with_capacity(num_dimensions as usize);
    for _ in 0..num_dimensions {
        let size = reader.u64()?;
        let size =
            usize::try_from(size).map_err(|_| Problem(format!("tensor `{name}` has a side of {size}")))?;
        shape.push(size);
    }
    // The format lists the fastest dimension first.
    shape.reverse();
    Ok(TensorInfo { name, shape, type_code: reader.u32()?, offset: reader.u64()? })
}

/// The byte range of a tensor, which must lie inside the file.
fn place(info: &TensorInfo, file_idx: usize, data_start: usize, file_len: usize) -> Result<Entry, Problem> {
    let outside = || Problem(format!("tensor `{}` lies outside the file of {file_len} bytes", info.name));
    let stored_type = stored_type(info.type_code);
    let num_bytes = match &stored_type {
        StoredType::Known(weight_type) => super::num_bytes(*weight_type, &info.shape).ok_or_else(|| {
            Problem(format!(
                "tensor `{}` of type {weight_type} cannot have shape {:?}",
                info.name, info.shape
            ))
        })?,
        // Its size is not known here, and nobody can ask for its bytes.
        StoredType::Int4(_) | StoredType::Other(_) => 0,
    };
    let start = usize::try_from(info.offset).ok().and_then(|offset| data_start.checked_add(offset));
    let start = start.ok_or_else(outside)?;
    let end = start.checked_add(num_bytes).filter(|&end| end <= file_len).ok_or_else(outside)?;
    Ok(Entry { file_idx, bytes: start..end, shape: info.shape.clone(), stored_type })
}

/// ggml's type numbers.
fn stored_type(code: u32) -> StoredType {
    let known = match code {
        0 => WeightType::F32,
        1 => WeightType::F16,
        2 => WeightType::Q4_0,
        3 => WeightType::Q4_1,
        6 => WeightType::Q5_0,
        7 => WeightType::Q5_1,
        8 => WeightType::Q8_0,
        10 => WeightType::Q2K,
        11 => WeightType::Q3K,
        12 => WeightType::Q4K,
        13 => WeightType::Q5K,
        14 => WeightType::Q6K,
        30 => WeightType::BF16,
        other => return StoredType::Other(foreign_name(other)),
    };
    StoredType::Known(known)
}

/// The name of a type that is not computed with.
fn foreign_name(code: u32) -> String {
    let name = match code {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        code => return format!("number {code}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
