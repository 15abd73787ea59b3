//! Products with quantised weights, and embedding from them.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::format::{QuantisedFormat, TILE};
use super::linear::{OutputColumns, ProductOutput, TILE_ROWS, takes_tiles};
use super::packed::{QuantisedWeight, RowOrder};

const OP: &str = "linear, quantised";
const THREADS: usize = 256;
/// With fewer blocks of two tiles of weight rows than so many for each multiprocessor, blocks take one tile.
const BLOCKS_PER_MULTIPROCESSOR: usize = 2;

/// A product `y = x w^T + bias`.
#[derive(Debug, Clone, Copy)]
pub struct QuantisedProduct<'a> {
    /// `[m, k]`
    pub x: DeviceSlice<'a, bf16>,
    /// `[n, k]`
    pub w: &'a QuantisedWeight,
    /// `[n]`
    pub bias: Option<DeviceSlice<'a, f32>>,
    /// Rows of `x`.
    pub m: usize,
}

/// The product. Up to [`super::linear::MAX_SKINNY_ROWS`] rows, and with batch-invariant products always, the weights are
/// streamed once for each 32 rows; beyond, once for each 128, and rounded to bf16.
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] if the output gates and the weight's rows do not stand
/// so, or the other way round.
pub fn product(
    device: &CudaDevice,
    product: &QuantisedProduct<'_>,
    out: &ProductOutput<'_>,
) -> Result<(), CudaError> {
    product_part(device, product, out, out.all_columns(product.w.shape()[0]))
}

/// The product into some columns of a wider matrix: one of several weights that stand one below the other.
///
/// # Errors
///
/// As [`product`].
pub fn product_part(
    device: &CudaDevice,
    product: &QuantisedProduct<'_>,
    out: &ProductOutput<'_>,
    columns: OutputColumns,
) -> Result<(), CudaError> {
    let QuantisedProduct { x, w, bias, m } = *product;
    let [n, k] = w.shape();
    expect_equal(OP, "elements of x", x.len(), m * k)?;
    if let Some(bias) = bias {
        expect_equal(OP, "elements of bias", bias.len(), n)?;
    }
    out.check([m, n], columns)?;
    if out.is_gated() != (w.order() == RowOrder::Gated) {
        let (what, found) = ("order of the weight's rows", format!("{:?}", w.order()));
        return Err(CudaError::Unsupported { op: OP, what, found, supported: "that of the output" });
    }
    let (kernel, grid) = launch_shape(device, w, m);
    let arguments = w.append_planes(Arguments::new().input(x)).optional_input(bias);
    let arguments = out.append_to(arguments, columns).size(m).size(n).size(k);
    let arguments = arguments.size(columns.stride).size(out.number());
    // SAFETY: lengths are checked, the planes' when they were made; the parameters are those of ABI.md;
    // `out` is a mutable borrow.
    unsafe { device.launch(kernel, grid, arguments) }
}

/// The kernel for `m` rows and its grid.
fn launch_shape(device: &CudaDevice, w: &QuantisedWeight, m: usize) -> (Kernel, Grid) {
    let (parts, n) = (w.format().parts(), w.shape()[0]);
    let has_room = |variant_idx: &usize| {
        parts.skinny_shared_bytes([2, 1 << variant_idx]) <= device.info().max_shared_bytes
    };
    let variant_idx = match m {
        ..=8 => 0,
        9..=16 => 1,
        _ => 2,
    };
    // Small GPUs have less shared memory: then weights are read more often, or always by tiles, which need less.
    let variant_idx = (0..=variant_idx).rev().find(has_room);
    let Some(variant_idx) = variant_idx.filter(|_| !takes_tiles(device, m)) else {
        let blocks = [n.div_ceil(TILE_ROWS), m.div_ceil(TILE_ROWS), 1];
        return (parts.tile, Grid::new(blocks, THREADS).with_shared(parts.tile_shared_bytes()));
    };
    let fills_device =
        n.div_ceil(2 * TILE[0]) >= BLOCKS_PER_MULTIPROCESSOR * device.info().num_multiprocessors;
    let (kernel, row_tiles) = if m <= 8 && !fills_device {
        (w.format().narrow_kernel(), 1)
    } else {
        (parts.skinny[variant_idx], 2)
    };
    let col_tiles = 1 << variant_idx;
    let blocks = [n.div_ceil(row_tiles * TILE[0]), m.div_ceil(8 * col_tiles), 1];
    (kernel, Grid::new(blocks, THREADS).with_shared(parts.skinny_shared_bytes([row_tiles, col_tiles])))
}

/// `residual[t] = w[tokens[t]]`, times `scale` if there is one: a table that the last product shares.
///
/// # Shapes
///
/// - `tokens`: `[tokens]`, each below the weight's rows
/// - `residual`: `[tokens, k]`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for a weight whose rows stand for a gate.
pub fn embed(
    device: &CudaDevice,
    tokens: DeviceSlice<'_, u32>,
    w: &QuantisedWeight,
    scale: Option<f32>,
    residual: &mut DeviceSliceMut<'_, f32>,
) -> Result<(), CudaError> {
    const OP: &str = "embed";
    if w.order() == RowOrder::Gated {
        let (what, found) = ("order of the table's rows", format!("{:?}", w.order()));
        return Err(CudaError::Unsupported { op: OP, what, found, supported: "plain" });
    }
    let kernel = match w.format() {
        QuantisedFormat::Q4Group32 => Kernel::EmbedPackedQ4g32,
        QuantisedFormat::Q4Group32Min => Kernel::EmbedPackedQ4g32z,
        QuantisedFormat::Q4Group128 => Kernel::EmbedPackedQ4g128,
        QuantisedFormat::Q4Group128Min => Kernel::EmbedPackedQ4g128z,
        QuantisedFormat::Q5Group32 => Kernel::EmbedPackedQ5g32,
        QuantisedFormat::Q5Group32Min => Kernel::EmbedPackedQ5g32z,
        QuantisedFormat::Q6Group16 => Kernel::EmbedPackedQ6g16,
        QuantisedFormat::Q8Group32 => Kernel::EmbedPackedQ8g32,
        QuantisedFormat::Q8Row => Kernel::EmbedPackedQ8c,
        QuantisedFormat::F8Row => Kernel::EmbedPackedF8c,
    };
    let k = w.shape()[1];
    expect_equal(OP, "elements of residual", residual.len(), tokens.len() * k)?;
    let arguments = w.append_planes(Arguments::new().input(tokens));
    // A product with 1 changes no bit.
    let arguments = arguments.output(residual).size(k).float(scale.unwrap_or(1.0));
    // SAFETY: lengths are checked; token ids were checked against the vocabulary by the host.
    unsafe { device.launch(kernel, Grid::new([tokens.len(), 1, 1], THREADS), arguments) }
}
