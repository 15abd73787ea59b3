//! A weight of several matrices of a file, one below the other, each kept as its type allows.
//!
//! A fused projection may be quantised in two ways at once (a file's v is often finer than its q and k).
//! Neighbours of one type become one part; each part is one launch, into its columns of the result.

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::embedding::{self, EmbeddingTable};
use super::format::{QuantisedFormat, TILE};
use super::linear::{self, OutputColumns, Product, ProductOutput};
use super::packed::{QuantisedWeight, RowOrder};
use super::quantised::{self, QuantisedProduct};
use crate::weight::block::BlockForm;
use crate::weight::{Quantisation, WeightSource, WeightType, decode_numbers};

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
    /// Packs sources of which the same becomes.
    fn pack(device: &CudaDevice, kept: Kept, sources: &[WeightSource<'_>]) -> Result<Self, CudaError> {
        let k = sources[0].shape()[1];
        let num_rows = sources.iter().map(|source| source.shape()[0]).sum();
        match kept {
            Kept::Bf16 => Ok(Self::Bf16(widened(device, sources, [num_rows, k])?, num_rows)),
            Kept::Blocks(weight_type, format) => {
                let blocks = sources.iter().map(WeightSource::bytes).collect::<Vec<&[u8]>>().concat();
                let kept_in = (weight_type, format);
                let weight =
                    QuantisedWeight::pack_as(device, kept_in, [num_rows, k], RowOrder::Plain, &blocks)?;
                Ok(Self::Quantised(weight))
            }
            Kept::Quantised(format) => {
                Ok(Self::Quantised(QuantisedWeight::quantise_sources(device, format, sources)?))
            }
        }
    }

    fn num_rows(&self) -> usize {
        match self {
            Self::Bf16(_, num_rows) => *num_rows,
            Self::Quantised(weight) => weight.shape()[0],
        }
    }
}

/// What becomes of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcesKept {
    /// Quantised ones stay as they are, where there is a format for their type; floats become bf16.
    AsStored,
    /// Everything is widened to bf16.
    Widened,
    /// Floats are quantised; quantised ones stay as they are.
    Quantised(Quantisation),
}

/// What becomes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Bf16,
    Blocks(WeightType, QuantisedFormat),
    Quantised(QuantisedFormat),
}

impl Kept {
    fn of(sources: SourcesKept, source: &WeightSource<'_>) -> Self {
        let weight_type = source.weight_type();
        let is_float = BlockForm::of(weight_type).is_none();
        match (sources, QuantisedFormat::of_blocks(weight_type)) {
            (SourcesKept::Quantised(what), _) if is_float => {
                Self::Quantised(QuantisedFormat::of_quantisation(what))
            }
            (SourcesKept::AsStored | SourcesKept::Quantised(_), Some(format)) => {
                Self::Blocks(weight_type, longest_groups(source).unwrap_or(format))
            }
            (SourcesKept::AsStored | SourcesKept::Quantised(_), None) | (SourcesKept::Widened, _) => {
                Self::Bf16
            }
        }
    }

    /// Whether what is below `source` may go on in the same part: rows that are quantised by a file's pieces begin
    /// with a tile.
    fn goes_on_after(self, source: &WeightSource<'_>) -> bool {
        !matches!(self, Self::Quantised(_)) || source.shape()[0].is_multiple_of(TILE[0])
    }
}

/// The format in groups of 128 for blocks of which each four of a row have one scale and one minimum, which is how AWQ
/// and GPTQ arrive here: the same numbers in fewer bytes. Other files differ within a few blocks.
fn longest_groups(source: &WeightSource<'_>) -> Option<QuantisedFormat> {
    const BLOCKS_OF_GROUP: usize = 4;
    let (format, head_bytes) = match source.weight_type() {
        WeightType::Q4_0 => (QuantisedFormat::Q4Group128, 2),
        WeightType::Q4_1 => (QuantisedFormat::Q4Group128Min, 4),
        _ => return None,
    };
    let block_bytes = source.weight_type().block_bytes();
    let is_alike = |group: &[u8]| {
        group.chunks_exact(block_bytes).all(|block| block[..head_bytes] == group[..head_bytes])
    };
    (0..source.shape()[0])
        .all(|row_idx| source.row(row_idx).chunks(BLOCKS_OF_GROUP * block_bytes).all(is_alike))
        .then_some(format)
}

impl StackedWeight {
    /// Copies sources of equal `k` up. `Q2_K` and `Q3_K` become bf16 in any case ([`WeightType::is_widened_on_gpu`]).
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] if `k` differs; [`CudaError::Unsupported`] unless `k` is a multiple of 8, and of 32 where
    /// floats are quantised, or if there is no source; [`CudaError::ArenaFull`].
    pub fn pack(
        device: &CudaDevice,
        sources: &[WeightSource<'_>],
        kept: SourcesKept,
    ) -> Result<Self, CudaError> {
        let Some(first) = sources.first() else {
            let found = "0".to_owned();
            return Err(CudaError::Unsupported { op: OP, what: "sources", found, supported: "at least 1" });
        };
        let k = first.shape()[1];
        if !k.is_multiple_of(8) {
            let (what, supported) = ("columns", "a multiple of 8");
            return Err(CudaError::Unsupported { op: OP, what, found: k.to_string(), supported });
        }
        let mut n = 0;
        for source in sources {
            expect_equal(OP, "columns of a source", source.shape()[1], k)?;
            n += source.shape()[0];
        }
        let kept: Vec<(Kept, WeightSource<'_>)> =
            sources.iter().map(|source| (Kept::of(kept, source), *source)).collect();
        let parts = kept
            .chunk_by(|(one, source), (next, _)| one == next && one.goes_on_after(source))
            .map(|alike| {
                let sources: Vec<WeightSource<'_>> = alike.iter().map(|(_, source)| *source).collect();
                Part::pack(device, alike[0].0, &sources)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { parts, shape: [n, k] })
    }

    /// Whether a product of `m` rows may gate: the weight is of one kind, and the product is one of our own, which gates
    /// before it rounds. With batch-invariant products that is so for any number of rows.
    pub fn can_gate(&self, device: &CudaDevice, m: usize) -> bool {
        matches!(self.parts.as_slice(), [Part::Bf16(..)])
            && self.shape[0].is_multiple_of(16)
            && linear::streams_once(device, m)
    }

    /// `y = x w^T + bias`: one launch a part.
    ///
    /// # Shapes
    ///
    /// - `x`: `[m, k]`; `bias`: `[n]`; `out`: `[m, n]`
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`]; [`CudaError::Unsupported`] for an output that gates unless [`Self::can_gate`];
    /// [`CudaError::Blas`].
    pub fn product(
        &self,
        device: &CudaDevice,
        x: DeviceSlice<'_, bf16>,
        bias: Option<DeviceSlice<'_, f32>>,
        m: usize,
        out: ProductOutput<'_>,
    ) -> Result<(), CudaError> {
        let [n, k] = self.shape;
        if out.is_gated() && !self.can_gate(device, m) {
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
        if source.weight_type() == WeightType::BF16 {
            let target = rows.as_mut_slice().slice(start..start + num_rows * k);
            let mut target = target.cast().expect("two bytes are a whole number of bytes");
            device.upload(source.bytes(), &mut target)?;
            start += num_rows * k;
            continue;
        }
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
