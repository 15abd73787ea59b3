//! Products with bf16 weights: the skinny kernels for few rows, cuBLASLt or a kernel of our own for many.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::{CudaDevice, Products};
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::rows::add_bias;

/// Up to so many rows the skinny kernels stream the weights once; beyond, the kernel for many rows is asked.
pub const MAX_SKINNY_ROWS: usize = 64;

/// The same where cuBLASLt can be asked: by count, with more rows the skinny kernels take more from L2 for the activations
/// than for the weights.
const MAX_SKINNY_ROWS_BESIDE_BLAS: usize = 32;

/// Rows of `x`, and of `w`, of one block of the kernel for many rows.
pub(super) const TILE_ROWS: usize = 128;
/// Its dynamic shared memory.
const TILE_SHARED_BYTES: usize = 98_304;

const THREADS: usize = 256;
const OP: &str = "linear";

/// A bf16 product `y = x w^T + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// `[m, k]`
    pub x: DeviceSlice<'a, bf16>,
    /// `[n, k]`
    pub w: DeviceSlice<'a, bf16>,
    /// `[n]`
    pub bias: Option<DeviceSlice<'a, f32>>,
    /// Rows of `x`.
    pub m: usize,
    /// Rows of `w`.
    pub n: usize,
    /// Columns of both; a multiple of 8.
    pub k: usize,
}

/// Where a product goes, and what is done to it on the way.
#[derive(Debug)]
pub enum ProductOutput<'a> {
    /// `out = y`, `[m, n]`
    Bf16(DeviceSliceMut<'a, bf16>),
    /// `out += y`, `[m, n]`: the residual stream.
    AddTo(DeviceSliceMut<'a, f32>),
    /// `out = y`, `[m, n]`: logits.
    F32(DeviceSliceMut<'a, f32>),
    /// `out = silu(y[:, ..n / 2]) * y[:, n / 2..]`, `[m, n / 2]`
    SiluGated(DeviceSliceMut<'a, bf16>),
    /// The same with gelu in its tanh form.
    GeluGated(DeviceSliceMut<'a, bf16>),
}

/// Which columns of its output's rows a product fills: all of them, or some of a wider matrix's, whose
/// others are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputColumns {
    /// The first of them.
    pub first: usize,
    /// Columns of a whole row.
    pub stride: usize,
}

impl ProductOutput<'_> {
    /// The number the kernels know it by.
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Bf16(_) => 0,
            Self::AddTo(_) => 1,
            Self::F32(_) => 2,
            Self::SiluGated(_) => 3,
            Self::GeluGated(_) => 4,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bf16(out) | Self::SiluGated(out) | Self::GeluGated(out) => out.len(),
            Self::AddTo(out) | Self::F32(out) => out.len(),
        }
    }

    fn columns(&self, n: usize) -> usize {
        match self {
            Self::Bf16(_) | Self::AddTo(_) | Self::F32(_) => n,
            Self::SiluGated(_) | Self::GeluGated(_) => n / 2,
        }
    }

    /// All columns of rows of their own.
    pub(super) fn all_columns(&self, n: usize) -> OutputColumns {
        OutputColumns { first: 0, stride: self.columns(n) }
    }

    /// Whether gate and up are multiplied.
    pub(super) fn is_gated(&self) -> bool {
        matches!(self, Self::SiluGated(_) | Self::GeluGated(_))
    }

    /// Appends where the given columns begin.
    pub(super) fn append_to(&self, arguments: Arguments, columns: OutputColumns) -> Arguments {
        let begin = match self {
            Self::Bf16(out) | Self::SiluGated(out) | Self::GeluGated(out) => {
                out.pointer() + (columns.first * size_of::<bf16>()) as u64
            }
            Self::AddTo(out) | Self::F32(out) => out.pointer() + (columns.first * size_of::<f32>()) as u64,
        };
        arguments.wide(begin)
    }

    /// Refuses a length other than that of `m` such rows, and columns that are not in them.
    pub(super) fn check(&self, [m, n]: [usize; 2], columns: OutputColumns) -> Result<(), CudaError> {
        let OutputColumns { first, stride } = columns;
        expect_equal(OP, "elements of out", self.len(), m * stride)?;
        let end = first + self.columns(n);
        if end > stride {
            return Err(CudaError::Shape { op: OP, what: "columns of out", found: stride, expected: end });
        }
        if self.is_gated() && !n.is_multiple_of(16) {
            let (what, supported) = ("n of a gated product", "a multiple of 16");
            return Err(CudaError::Unsupported { op: OP, what, found: n.to_string(), supported });
        }
        Ok(())
    }
}

/// A variant of the skinny kernel: it differs in how many rows share one reading of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkinnyVariant {
    /// Up to 8 rows.
    M8,
    /// Up to 16 rows.
    M16,
    /// Up to 32 rows.
    M32,
    /// Up to 64 rows.
    M64,
}

impl SkinnyVariant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::M8, Self::M16, Self::M32, Self::M64];

    /// The smallest that holds `m` rows, or the largest there is; of those that find room on the device.
    pub fn for_device(device: &CudaDevice, m: usize) -> Self {
        let fits = |variant: &Self| variant.block().1 <= device.info().max_shared_bytes;
        let mut fitting = Self::ALL.into_iter().filter(fits);
        let largest = fitting.clone().next_back().unwrap_or(Self::M8);
        fitting.find(|variant| m <= variant.rows()).unwrap_or(largest)
    }

    /// Rows of `x` in one block.
    pub fn rows(self) -> usize {
        match self {
            Self::M8 => 8,
            Self::M16 => 16,
            Self::M32 => 32,
            Self::M64 => 64,
        }
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        self.kernel().name()
    }

    fn kernel(self) -> Kernel {
        match self {
            Self::M8 => Kernel::LinearSkinnyM8,
            Self::M16 => Kernel::LinearSkinnyM16,
            Self::M32 => Kernel::LinearSkinnyM32,
            Self::M64 => Kernel::LinearSkinnyM64,
        }
    }

    /// Rows of `w` in one block, and its dynamic shared memory.
    fn block(self) -> (usize, usize) {
        match self {
            Self::M8 => (16, 98_304),
            Self::M16 | Self::M32 | Self::M64 => (32, 196_608),
        }
    }
}

/// The product by whichever implementation is fastest for `m` rows.
///
/// # Errors
///
/// As [`skinny`]; [`CudaError::Blas`].
pub fn product(
    device: &CudaDevice,
    product: &Product<'_>,
    mut out: ProductOutput<'_>,
) -> Result<(), CudaError> {
    check(product, &out, out.all_columns(product.n))?;
    let Product { x, w, bias, m, n, k } = *product;
    if let Some(blas) = device.blas().filter(|_| !streams_once(device, m)) {
        match (&mut out, bias) {
            (ProductOutput::Bf16(out), None) => return blas.product(x, w, out, [m, n, k]),
            (ProductOutput::Bf16(out), Some(bias)) if n.is_multiple_of(8) => {
                blas.product(x, w, out, [m, n, k])?;
                return add_bias(device, out, bias);
            }
            (ProductOutput::AddTo(out), None) => return blas.product_f32(x, w, out, [m, n, k], true),
            (ProductOutput::F32(out), None) => return blas.product_f32(x, w, out, [m, n, k], false),
            // What the library has no epilogue for.
            _ => {}
        }
    }
    product_part(device, product, &out, out.all_columns(n))
}

/// Whether products of `m` rows with bf16 weights go to the skinny kernels.
pub(super) fn streams_once(device: &CudaDevice, m: usize) -> bool {
    m <= MAX_SKINNY_ROWS_BESIDE_BLAS || !takes_tiles(device, m) && device.blas().is_none()
}

/// Whether `m` rows go to the kernel for many, which sums in another order than the skinny ones.
pub(super) fn takes_tiles(device: &CudaDevice, m: usize) -> bool {
    m > MAX_SKINNY_ROWS && device.config().products != Products::BatchInvariant
}

/// The product into some columns of a wider matrix: one of several weights that stand one below the other.
///
/// # Errors
///
/// As [`skinny`].
pub fn product_part(
    device: &CudaDevice,
    product: &Product<'_>,
    out: &ProductOutput<'_>,
    columns: OutputColumns,
) -> Result<(), CudaError> {
    if takes_tiles(device, product.m) {
        return launch_tiles(device, product, out, columns);
    }
    launch_skinny(device, SkinnyVariant::for_device(device, product.m), product, out, columns)
}

/// The product by the kernel for many rows; any number is right.
///
/// # Errors
///
/// As [`skinny`].
pub fn tiles(device: &CudaDevice, product: &Product<'_>, out: &ProductOutput<'_>) -> Result<(), CudaError> {
    launch_tiles(device, product, out, out.all_columns(product.n))
}

fn launch_tiles(
    device: &CudaDevice,
    product: &Product<'_>,
    out: &ProductOutput<'_>,
    columns: OutputColumns,
) -> Result<(), CudaError> {
    let blocks = [product.n.div_ceil(TILE_ROWS), product.m.div_ceil(TILE_ROWS), 1];
    let grid = Grid::new(blocks, THREADS).with_shared(TILE_SHARED_BYTES);
    launch(device, Kernel::LinearTile, grid, product, out, columns)
}

/// The product by a given variant of the skinny kernel; any number of rows is right, more than the
/// variant's cost another reading of the weights.
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`], [`CudaError::Driver`].
pub fn skinny(
    device: &CudaDevice,
    variant: SkinnyVariant,
    product: &Product<'_>,
    out: &ProductOutput<'_>,
) -> Result<(), CudaError> {
    launch_skinny(device, variant, product, out, out.all_columns(product.n))
}

fn launch_skinny(
    device: &CudaDevice,
    variant: SkinnyVariant,
    product: &Product<'_>,
    out: &ProductOutput<'_>,
    columns: OutputColumns,
) -> Result<(), CudaError> {
    let (weight_rows, shared_bytes) = variant.block();
    let blocks = [product.n.div_ceil(weight_rows), product.m.div_ceil(variant.rows()), 1];
    let grid = Grid::new(blocks, THREADS).with_shared(shared_bytes);
    launch(device, variant.kernel(), grid, product, out, columns)
}

/// Every product with bf16 weights has the same parameters.
fn launch(
    device: &CudaDevice,
    kernel: Kernel,
    grid: Grid,
    product: &Product<'_>,
    out: &ProductOutput<'_>,
    columns: OutputColumns,
) -> Result<(), CudaError> {
    check(product, out, columns)?;
    let Product { x, w, bias, m, n, k } = *product;
    let arguments = Arguments::new().input(x).input(w).optional_input(bias);
    let arguments = out.append_to(arguments, columns).size(m).size(n).size(k);
    let arguments = arguments.size(columns.stride).size(out.number());
    // SAFETY: `check` has compared every length with `m`, `n`, `k` and the output's rows, which is all
    // the kernel addresses by; the parameters are those of ABI.md; `out` is a mutable borrow.
    unsafe { device.launch(kernel, grid, arguments) }
}

fn check(product: &Product<'_>, out: &ProductOutput<'_>, columns: OutputColumns) -> Result<(), CudaError> {
    let Product { x, w, bias, m, n, k } = *product;
    expect_equal(OP, "elements of x", x.len(), m * k)?;
    expect_equal(OP, "elements of w", w.len(), n * k)?;
    if let Some(bias) = bias {
        expect_equal(OP, "elements of bias", bias.len(), n)?;
    }
    if !k.is_multiple_of(8) {
        let (what, supported) = ("k", "a multiple of 8");
        return Err(CudaError::Unsupported { op: OP, what, found: k.to_string(), supported });
    }
    out.check([m, n], columns)
}
