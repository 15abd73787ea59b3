//! The weights of a model on disk, whatever the format: names, shapes, types and bytes.
//!
//! Files are mapped, never read into memory as a whole. Nothing here knows what a tensor is for; which ones a model
//! needs is said in [`crate::arch`] and checked in [`load`](mod@crate::load).
//!
//! # Invariants
//!
//! - A [`StoredTensor`] has exactly the bytes that its shape and type call for: checked when the file is opened.
//! - No count in a header is believed before the file has been seen to be long enough for it.
//!
//! Deliberately absent: writing but for [`cut_layers`], and loading by parts; a model is served whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use spillway_kernels::WeightType;

use crate::error::ModelError;

mod convert;
pub(crate) mod gguf;
mod int4;
mod mapped_file;
mod safetensors;

pub(crate) use convert::to_f32;
pub(crate) use gguf::GgufMetadata;
pub use gguf::cut_layers;
pub(crate) use int4::{Int4Matrix, Int4Scheme};

use mapped_file::MappedFile;

/// The tensors of one or several files behind one list of names.
#[derive(Debug)]
pub(crate) struct WeightStore {
    origin: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Entry>,
}

/// How a file says that a tensor's numbers are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredType {
    /// A type that kernels compute with.
    Known(WeightType),
    /// Four bits in several tensors, unpacked to a known type when asked for.
    Int4(Int4Matrix),
    /// Any other, by the format's own name.
    Other(String),
}

impl fmt::Display for StoredType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(weight_type) => weight_type.fmt(formatter),
            Self::Int4(matrix) => matrix.fmt(formatter),
            Self::Other(name) => name.fmt(formatter),
        }
    }
}

/// Where one tensor is.
#[derive(Debug)]
struct Entry {
    file_idx: usize,
    bytes: Range<usize>,
    shape: Vec<usize>,
    stored_type: StoredType,
}

/// One tensor in its file's own bytes, or unpacked; little-endian and row-major.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor<'a> {
    /// How its numbers are stored.
    pub(crate) weight_type: WeightType,
    /// All of them.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// What is known of a tensor without its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescribedTensor<'a> {
    /// Outermost dimension first.
    pub(crate) shape: &'a [usize],
    /// How its numbers are stored.
    pub(crate) stored_type: &'a StoredType,
    /// Bytes in the file.
    pub(crate) num_bytes: usize,
}

impl WeightStore {
    /// Maps the safetensors files of a folder: those that its index names, or the only one there is.
    pub(crate) fn open_safetensors(folder: &Path) -> Result<Self, ModelError> {
        let mut store = Self { origin: folder.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        safetensors::open_folder(folder, &mut store)?;
        Ok(store)
    }

    /// Maps a GGUF file and reads its metadata.
    pub(crate) fn open_gguf(path: &Path) -> Result<(Self, GgufMetadata), ModelError> {
        let mut store = Self { origin: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        let metadata = gguf::open_file(path, &mut store)?;
        Ok((store, metadata))
    }

    /// The same tensors, some under other names: `rename` answers with those that change.
    pub(crate) fn renamed(mut self, rename: impl Fn(&str) -> Option<String>) -> Result<Self, ModelError> {
        for (name, entry) in std::mem::take(&mut self.tensors) {
            let name = rename(&name).unwrap_or(name);
            self.insert(name, entry)?;
        }
        Ok(self)
    }

    /// Forgets all tensors but these.
    pub(crate) fn keep(&mut self, names: &BTreeSet<String>) {
        self.tensors.retain(|name, _| names.contains(name));
    }

    /// The file or folder that was opened.
    pub(crate) fn origin(&self) -> &Path {
        &self.origin
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether a tensor of this name exists.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// How many tensors there are of each type, most frequent first.
    pub(crate) fn count_types(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::new();
        for entry in self.tensors.values() {
            *counts.entry(entry.stored_type.to_string()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Every tensor by its name, without its numbers.
    pub(crate) fn described(&self) -> impl Iterator<Item = (&str, DescribedTensor<'_>)> {
        self.tensors.iter().map(|(name, entry)| {
            let Entry { shape, stored_type, bytes, .. } = entry;
            let side_bytes = match stored_type {
                StoredType::Int4(matrix) => matrix.side_bytes(),
                StoredType::Known(_) | StoredType::Other(_) => 0,
            };
            (name.as_str(), DescribedTensor { shape, stored_type, num_bytes: bytes.len() + side_bytes })
        })
    }

    /// The type that most of the numbers have; packed ones count as `Q4_1`, whatever each matrix is unpacked to.
    pub(crate) fn dominant_type(&self) -> WeightType {
        let mut counts: Vec<(WeightType, usize)> = Vec::new();
        for entry in self.tensors.values() {
            let weight_type = match entry.stored_type {
                StoredType::Known(weight_type) => weight_type,
                StoredType::Int4(_) => WeightType::Q4_1,
                StoredType::Other(_) => continue,
            };
            let numbers = entry.shape.iter().product::<usize>();
            match counts.iter_mut().find(|(known, _)| *known == weight_type) {
                Some((_, count)) => *count += numbers,
                None => counts.push((weight_type, numbers)),
            }
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map_or(WeightType::F32, |(weight_type, _)| weight_type)
    }

    /// A tensor whose shape must be `expected`.
    pub(crate) fn tensor(&self, name: &str, expected: &[usize]) -> Result<StoredTensor<'_>, ModelError> {
        let Some((name, entry)) = self.tensors.get_key_value(name) else {
            return Err(ModelError::Tensors {
                path: self.origin.clone(),
                missing: vec![name.to_owned()],
                left_over: Vec::new(),
            });
        };
        if let StoredType::Other(type_name) = &entry.stored_type {
            return Err(self.foreign_type(name, entry, type_name));
        }
        if entry.shape != expected {
            return Err(ModelError::TensorShape {
                name: name.clone(),
                actual: entry.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        let bytes = &self.files[entry.file_idx][entry.bytes.clone()];
        match (&entry.stored_type, expected) {
            (StoredType::Known(weight_type), _) => {
                Ok(StoredTensor { weight_type: *weight_type, bytes: Cow::Borrowed(bytes) })
            }
            (StoredType::Int4(matrix), &[n, k]) => {
                let (weight_type, bytes) = self.unpack_int4(name, matrix, [n, k], bytes)?;
                Ok(StoredTensor { weight_type, bytes: Cow::Owned(bytes) })
            }
            (StoredType::Int4(_) | StoredType::Other(_), _) => {
                Err(self.foreign_type(name, entry, &entry.stored_type.to_string()))
            }
        }
    }

    /// Refuses tensors of a type that is not computed with; `keep` has left those that are needed.
    pub(crate) fn check_types(&self) -> Result<(), ModelError> {
        for (name, entry) in &self.tensors {
            if let StoredType::Other(type_name) = &entry.stored_type {
                return Err(self.foreign_type(name, entry, type_name));
            }
        }
        Ok(())
    }

    fn foreign_type(&self, name: &str, entry: &Entry, type_name: &str) -> ModelError {
        ModelError::Unsupported {
            path: self.files[entry.file_idx].path().to_owned(),
            feature: format!("tensor `{name}` of type {type_name}"),
            supported: supported_types(),
        }
    }

    /// Adds a tensor whose byte range is known to lie inside its file.
    fn insert(&mut self, name: String, entry: Entry) -> Result<(), ModelError> {
        let path = self.files[entry.file_idx].path();
        if let StoredType::Known(weight_type) = entry.stored_type {
            let expected = num_bytes(weight_type, &entry.shape);
            if expected != Some(entry.bytes.len()) {
                return Err(ModelError::Malformed {
                    path: path.to_owned(),
                    problem: format!(
                        "tensor `{name}` of shape {:?} and type {weight_type} has {} bytes",
                        entry.shape,
                        entry.bytes.len()
                    ),
                });
            }
        }
        if self.tensors.contains_key(&name) {
            return Err(ModelError::Malformed {
                path: path.to_owned(),
                problem: format!("tensor `{name}` exists twice"),
            });
        }
        self.tensors.insert(name, entry);
        Ok(())
    }
}

impl StoredTensor<'_> {
    /// The numbers as f32, exactly as the format defines them.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        to_f32(self.weight_type, &self.bytes)
    }
}

/// What to do about a type that is not computed with.
fn supported_types() -> String {
    let names: Vec<_> = WeightType::ALL.iter().map(|weight_type| weight_type.name().to_uppercase()).collect();
    format!(
        "supported types are {}; take a file of the model in one of these, such as Q4_K_M",
        names.join(", ")
    )
}

/// Bytes of a tensor, unless they overflow or its rows are no whole number of blocks.
fn num_bytes(weight_type: WeightType, shape: &[usize]) -> Option<usize> {
    let (&columns, outer) = shape.split_last().unwrap_or((&1, &[]));
    outer.iter().try_fold(weight_type.row_bytes(columns)?, |bytes, &size| bytes.checked_mul(size))
}

#[cfg(test)]
pub(crate) use int4::tests as int4_tests;

#[cfg(test)]
pub(crate) mod tests;
