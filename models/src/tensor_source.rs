//! Where a model's tensors come from: files, or a seed.

use std::borrow::Cow;
use std::path::PathBuf;

use spillway_kernels::WeightType;

use crate::dummy::DummyWeights;
use crate::error::ModelError;
use crate::weights::{WeightStore, to_f32};

/// A place to ask for tensors by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TensorSource<'a> {
    /// Files.
    Stored(&'a WeightStore),
    /// Random numbers.
    Dummy(&'a DummyWeights),
}

/// One tensor in its source's own type.
#[derive(Debug, Clone)]
pub(crate) struct TensorData<'a> {
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
    pub(crate) weight_type: WeightType,
    /// Row-major, little-endian.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl<'a> TensorSource<'a> {
    /// The tensor of this name, which must have this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorData<'a>, ModelError> {
        match self {
            Self::Stored(store) => {
                let stored = store.tensor(name, shape)?;
                Ok(TensorData { shape: shape.to_vec(), weight_type: stored.weight_type, bytes: stored.bytes })
            }
            Self::Dummy(dummy) => Ok(dummy.tensor(name, shape)),
        }
    }

    /// The type that most of the weights' numbers have.
    pub(crate) fn dominant_type(&self) -> WeightType {
        match self {
            Self::Stored(store) => store.dominant_type(),
            Self::Dummy(dummy) => dummy.weight_type(),
        }
    }

    /// The file or folder, for messages.
    pub(crate) fn origin(&self) -> PathBuf {
        match self {
            Self::Stored(store) => store.origin().to_owned(),
            Self::Dummy(_) => PathBuf::from("dummy weights"),
        }
    }
}

impl<'a> TensorData<'a> {
    /// The tensors along the outermost dimension.
    pub(crate) fn slices(self) -> Vec<TensorData<'a>> {
        let Some((&count, shape)) = self.shape.split_first() else { return vec![self] };
        let slice_bytes = self.bytes.len() / count.max(1);
        let slice = |index: usize| {
            let range = index * slice_bytes..(index + 1) * slice_bytes;
            let bytes = match &self.bytes {
                Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
                Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
            };
            TensorData { shape: shape.to_vec(), weight_type: self.weight_type, bytes }
        };
        (0..count).map(slice).collect()
    }
}

impl TensorData<'_> {
    /// All dimensions but the last, taken together.
    pub(crate) fn num_rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// The numbers, exactly as their type defines them.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        to_f32(self.weight_type, &self.bytes)
    }

    /// The same matrix with the rows of each head of `head_dim` rows moved: those at even places first, then the others.
    ///
    /// llama.cpp stores q and k of Llama so that rows that turn together are neighbours; this puts them back. Rows are
    /// moved whole, so it works on quantised ones as well.
    pub(crate) fn with_rows_in_halves(&self, head_dim: usize) -> TensorData<'static> {
        let num_rows = self.num_rows();
        let row_bytes = self.bytes.len() / num_rows.max(1);
        let half = head_dim / 2;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for row_idx in 0..num_rows {
            let (head, row) = (row_idx / head_dim, row_idx % head_dim);
            let from = head * head_dim + 2 * (row % half) + row / half;
            bytes.extend_from_slice(&self.bytes[from * row_bytes..][..row_bytes]);
        }
        TensorData { shape: self.shape.clone(), weight_type: self.weight_type, bytes: Cow::Owned(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_into_halves_head_by_head() {
        let bytes: Vec<u8> = (0..8).flat_map(|row| [row, row + 100, 0, 0]).collect();
        let tensor =
            TensorData { shape: vec![8, 1], weight_type: WeightType::F32, bytes: Cow::Borrowed(&bytes) };
        let rows: Vec<u8> = tensor.with_rows_in_halves(4).bytes.chunks(4).map(|row| row[0]).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
