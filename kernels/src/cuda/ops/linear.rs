//! Products with bf16 weights: the skinny kernels for few rows, cuBLASLt for many.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};

/// Up to so many rows the skinny kernels stream the weights once; beyond, cuBLASLt is asked.
pub const MAX_SKINNY_ROWS: usize = 64;

const THREADS: usize = 256;

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

impl ProductOutput<'_> {
    /// The number the kernels know it by.
    fn number(&self) -> usize {
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

    fn append_to(&self, arguments: Arguments) -> Arguments {
        match self {
            Self::Bf16(out) | Self::SiluGated(out) | Self::GeluGated(out) => arguments.output(out),
            Self::AddTo(out) | Self::F32(out) => arguments.output(out),
        }
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

    /// The smallest that holds `m` rows, or the largest there is.
    pub fn for_rows(m: usize) -> Self {
        Self::ALL.into_iter().find(|variant| m <= variant.rows()).unwrap_or(Self::M64)
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
    check(product, &out)?;
    let Product { x, w, bias, m, n, k } = *product;
    if let (Some(blas), None, true) = (device.blas(), bias, m > MAX_SKINNY_ROWS) {
        match &mut out {
            ProductOutput::Bf16(out) => return blas.product(x, w, out, [m, n, k]),
            ProductOutput::AddTo(out) => return blas.product_f32(x, w, out, [m, n, k], true),
            ProductOutput::F32(out) => return blas.product_f32(x, w, out, [m, n, k], false),
            ProductOutput::SiluGated(_) | ProductOutput::GeluGated(_) => {}
        }
    }
    skinny(device, SkinnyVariant::for_rows(m), product, &out)
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
    check(product, out)?;
    let Product { x, w, bias, m, n, k } = *product;
    let (weight_rows, shared_bytes) = variant.block();
    let grid = Grid::new([n.div_ceil(weight_rows), m.div_ceil(variant.rows()), 1], THREADS)
        .with_shared(shared_bytes);
    let arguments = Arguments::new().input(x).input(w).optional_input(bias);
    let arguments = out.append_to(arguments).size(m).size(n).size(k).size(out.number());
    // SAFETY: `check` has compared every length with `m`, `n` and `k`, which is all the kernel
    // addresses by; the parameters are those of ABI.md; `out` is a mutable borrow.
    unsafe { device.launch(variant.kernel(), grid, arguments) }
}

fn check(product: &Product<'_>, out: &ProductOutput<'_>) -> Result<(), CudaError> {
    const OP: &str = "linear";
    let Product { x, w, bias, m, n, k } = *product;
    expect_equal(OP, "elements of x", x.len(), m * k)?;
    expect_equal(OP, "elements of w", w.len(), n * k)?;
    if let Some(bias) = bias {
        expect_equal(OP, "elements of bias", bias.len(), n)?;
    }
    expect_equal(OP, "elements of out", out.len(), m * out.columns(n))?;
    if !k.is_multiple_of(8) {
        let (what, supported) = ("k", "a multiple of 8");
        return Err(CudaError::Unsupported { op: OP, what, found: k.to_string(), supported });
    }
    let gated = matches!(out, ProductOutput::SiluGated(_) | ProductOutput::GeluGated(_));
    if gated && !n.is_multiple_of(16) {
        let (what, supported) = ("n of a gated product", "a multiple of 16");
        return Err(CudaError::Unsupported { op: OP, what, found: n.to_string(), supported });
    }
    Ok(())
}
