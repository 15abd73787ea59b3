//! A weight of several matrices of a file, one below the other, each kept as its type allows.
//!
//! A fused projection may be quantised in two ways at once (a file's v is often finer than its q and k).
//! Neighbours of one type become one part; each part is one launch, into its columns of the result.

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::embedding::{self, EmbeddingTable};
use super::format::QuantisedFormat;
use super::linear::{self, OutputColumns, Product, ProductOutput};
use super::packed::{QuantisedWeight, RowOrder};
use super::quantised::{self, QuantisedProduct};
use crate::weight::{WeightSource, WeightType, decode_numbers};

const OP: &str = "a weight on the GPU";

/// Rows are widened in pieces of about so many numbers.
const PIECE_NUMBERS: usize = 16 << 20;

/// A weight `[n, k]` of one or several parts.
#[derive(Debug)]
pub struct StackedWeight {
    parts: Vec<Part>,
    shape: [usize; 2],
}

#[derive(Debug)]
enum Part {
    /// `[n, k]`, and `n`.
    Bf16(DeviceBuffer<bf16>, usize),
    Quantised(QuantisedWeight),
}

impl Part {
    fn num_rows(&self) -> usize {
        match self {
            Self::Bf16(_, num_rows) => *num_rows,
            Self::Quantised(weight) => weight.shape()[0],
        }
    }
}

/// What becomes of quantised sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantisedSources {
    /// They stay as they are, where there is a format for their type.
    Kept,
    /// They are widened to bf16.
    Widened,
}

/// The quantised type a source is kept in, if it is: neighbours that agree become one part.
fn kept_type(sources: QuantisedSources, weight_type: WeightType) -> Option<WeightType> {
    match sources {
        QuantisedSources::Kept => QuantisedFormat::of_blocks(weight_type).map(|_| weight_type),
        QuantisedSources::Widened => None,
    }
}

impl StackedWeight {
    /// Copies sources of equal `k` up. Floats become bf16, and `Q2_K` and `Q3_K` in any case
    /// ([`WeightType::is_widened_on_gpu`]).
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] if `k` differs, [`CudaError::Unsupported`] unless `k` is a multiple of 8 or if
    /// there is no source, [`CudaError::ArenaFull`].
    pub fn pack(
        device: &CudaDevice,
        sources: &[WeightSource<'_>],
        quantised: QuantisedSources,
    ) -> Result<Self, CudaError> {
        let kept = |source: &WeightSource<'_>| kept_type(quantised, source.weight_type());
        let Some(first) = sources.first() else {
            let found = "0".to_owned();
            return Err(CudaError::Unsupported { op: OP, what: "sources", found, supported: "at least 1" });
        };
        let k = first.shape()[1];
        if !k.is_multiple_of(8) {
            let (what, supported) = ("columns", "a multiple of 8");
            return Err(CudaError::Unsupported { op: OP, what, found: k.to_string(), supported });
        }
        let mut parts = Vec::new();
        let mut n = 0;
        for alike in sources.chunk_by(|a, b| kept(a) == kept(b)) {
            let mut num_rows = 0;
            for source in alike {
                expect_equal(OP, "columns of a source", source.shape()[1], k)?;
                num_rows += source.shape()[0];
            }
            parts.push(match kept(&alike[0]) {
                Some(weight_type) => {
                    let blocks = alike.iter().map(WeightSource::bytes).collect::<Vec<&[u8]>>().concat();
                    let shape = [num_rows, k];
                    let weight = QuantisedWeight::pack(device, weight_type, shape, RowOrder::Plain, &blocks)?;
                    Part::Quantised(weight)
                }
                None => Part::Bf16(widened(device, alike, [num_rows, k])?, num_rows),
            });
            n += num_rows;
        }
        Ok(Self { parts, shape: [n, k] })
    }

    /// `y = x w^T + bias`: one launch a part.
    ///
    /// # Shapes
    ///
    /// - `x`: `[m, k]`; `bias`: `[n]`; `out`: `[m, n]`
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`]; [`CudaError::Unsupported`] for an output that gates, as gate and up may be
    /// kept in different ways; [`CudaError::Blas`].
    pub fn product(
        &self,
        device: &CudaDevice,
        x: DeviceSlice<'_, bf16>,
        bias: Option<DeviceSlice<'_, f32>>,
        m: usize,
        out: ProductOutput<'_>,
    ) -> Result<(), CudaError> {
        let [n, k] = self.shape;
        if out.is_gated() {
            let (what, found) = ("output", "gated".to_owned());
            return Err(CudaError::Unsupported { op: OP, what, found, supported: "one that does not gate" });
        }
        if let [Part::Bf16(w, _)] = self.parts.as_slice() {
            // The only case that a library's product can take.
            return linear::product(device, &Product { x, w: w.as_slice(), bias, m, n, k }, out);
        }
        if let Some(bias) = bias {
            expect_equal(OP, "elements of bias", bias.len(), n)?;
        }
        let mut columns = OutputColumns { first: 0, stride: n };
        for part in &self.parts {
            let num_rows = part.num_rows();
            let bias = bias.map(|bias| bias.slice(columns.first..columns.first + num_rows));
            match part {
                Part::Bf16(w, _) => {
                    let product = Product { x, w: w.as_slice(), bias, m, n: num_rows, k };
                    linear::product_part(device, &product, &out, columns)?;
                }
                Part::Quantised(w) => {
                    let product = QuantisedProduct { x, w, bias, m };
                    quantised::product_part(device, &product, &out, columns)?;
                }
            }
            columns.first += num_rows;
        }
        Ok(())
    }

    /// `residual[t] = w[tokens[t]]`, times `scale` if there is one.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[tokens]`, each below `n`; `residual`: `[tokens, k]`
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`], [`CudaError::Unsupported`] for a weight of several parts.
    pub fn embed(
        &self,
        device: &CudaDevice,
        tokens: DeviceSlice<'_, u32>,
        scale: Option<f32>,
        residual: &mut DeviceSliceMut<'_, f32>,
    ) -> Result<(), CudaError> {
        match self.parts.as_slice() {
            [Part::Bf16(w, _)] => {
                let table = EmbeddingTable::bf16(self.shape, w.as_slice())?;
                embedding::embed(device, tokens, table, scale, residual)
            }
            [Part::Quantised(w)] => quantised::embed(device, tokens, w, scale, residual),
            parts => {
                let found = format!("{} parts", parts.len());
                Err(CudaError::Unsupported { op: OP, what: "table", found, supported: "one part" })
            }
        }
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes it takes.
    pub fn size_bytes(&self) -> usize {
        let bytes = |part: &Part| match part {
            Part::Bf16(w, _) => w.len() * size_of::<bf16>(),
            Part::Quantised(w) => w.size_bytes(),
        };
        self.parts.iter().map(bytes).sum()
    }
}

/// Sources as bf16, one below the other, copied up piece by piece.
fn widened(
    device: &CudaDevice,
    sources: &[WeightSource<'_>],
    [n, k]: [usize; 2],
) -> Result<DeviceBuffer<bf16>, CudaError> {
    let mut rows: DeviceBuffer<bf16> = device.alloc("a weight", n * k)?;
    let piece_rows = (PIECE_NUMBERS / k).max(1);
    let mut values = vec![0.0_f32; k];
    let mut piece: Vec<bf16> = Vec::with_capacity(piece_rows.min(n) * k);
    let mut start = 0;
    for source in sources {
        let num_rows = source.shape()[0];
        for first_row in (0..num_rows).step_by(piece_rows) {
            piece.clear();
            for row_idx in first_row..(first_row + piece_rows).min(num_rows) {
                decode_numbers(source.weight_type(), source.row(row_idx), &mut values);
                piece.extend(values.iter().map(|&value| bf16::from_f32(value)));
            }
            device.upload(&piece, &mut rows.as_mut_slice().slice(start..start + piece.len()))?;
            start += piece.len();
        }
    }
    Ok(rows)
}
