//! Products against the reference: every skinny variant, every epilogue, cuBLASLt.

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::error::CudaError;
use super::super::ops::linear::{self, Product, ProductOutput, SkinnyVariant};
use super::{Check, Run, ToF64, reference, widen};

/// Outputs in bf16: half a step of its last place; sums are in f32.
const BF16_LIMIT: f64 = 4e-3;
/// Outputs in f32: `k` roundings in f32.
const F32_LIMIT: f64 = 2e-5;

/// `[m, n, k]`: one row and one weight row, odd remainders of every tile, real shapes.
const SHAPES: [[usize; 3]; 8] = [
    [1, 1, 8],
    [1, 16, 64],
    [3, 33, 72],
    [8, 48, 1536],
    [13, 100, 576],
    [17, 6144, 1032],
    [65, 304, 4096],
    [2, 1040, 14_336],
];

/// What a product's result is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Bf16,
    AddTo,
    F32,
    SiluGated,
    GeluGated,
}

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for dims in SHAPES {
        if run.skips(operations(dims)) {
            continue;
        }
        let case = Case::new(run, dims)?;
        for variant in SkinnyVariant::ALL {
            case.skinny(run, variant, Target::F32, false)?;
        }
        let variant = SkinnyVariant::for_device(run.device, dims[0]);
        for target in [Target::Bf16, Target::AddTo, Target::F32] {
            case.skinny(run, variant, target, true)?;
        }
        if dims[1].is_multiple_of(16) {
            for variant in SkinnyVariant::ALL {
                case.skinny(run, variant, Target::SiluGated, false)?;
                case.skinny(run, variant, Target::GeluGated, true)?;
            }
        }
        case.tiles(run)?;
        invariant(run, &case)?;
    }
    blas(run)
}

/// Multiplications of a product, for which rows come in eights.
pub(super) fn operations([m, n, k]: [usize; 3]) -> usize {
    m.next_multiple_of(8) * n * k
}

/// Inputs of one shape.
struct Case {
    dims: [usize; 3],
    x: DeviceBuffer<bf16>,
    w: DeviceBuffer<bf16>,
    bias: DeviceBuffer<f32>,
    /// `x w^T` and the same plus the bias.
    plain: Vec<f64>,
    biased: Vec<f64>,
}

impl Case {
    fn new<F: FnMut(&Check)>(run: &mut Run<'_, F>, dims: [usize; 3]) -> Result<Self, CudaError> {
        let [m, n, k] = dims;
        let (x, x_host) = run.random_bf16(m * k, 1.0)?;
        let (w, w_host) = run.random_bf16(n * k, 2.0 / (k as f32).sqrt())?;
        let (bias, bias_host) = run.random_f32(n, 0.0, 1.0)?;
        let (x_host, w_host) = (widen(&x_host), widen(&w_host));
        let plain = reference::linear(&x_host, &w_host, None, dims);
        let biased = reference::linear(&x_host, &w_host, Some(&widen(&bias_host)), dims);
        Ok(Self { dims, x, w, bias, plain, biased })
    }

    fn product(&self, with_bias: bool) -> Product<'_> {
        let [m, n, k] = self.dims;
        let bias = with_bias.then(|| self.bias.as_slice());
        Product { x: self.x.as_slice(), w: self.w.as_slice(), bias, m, n, k }
    }

    /// The kernel for many rows.
    fn tiles<F: FnMut(&Check)>(&self, run: &mut Run<'_, F>) -> Result<(), CudaError> {
        let [m, n, k] = self.dims;
        let name = format!("m {m} n {n} k {k}");
        let mut out = run.poisoned(m * n)?;
        linear::tiles(run.device, &self.product(true), &ProductOutput::F32(out.as_mut_slice()))?;
        let out = run.values(&out)?;
        run.compare("linear_tile_bf16", name.clone(), &out, &self.biased, F32_LIMIT);
        if n.is_multiple_of(16) {
            let mut out = run.poisoned(m * n / 2)?;
            linear::tiles(run.device, &self.product(false), &ProductOutput::SiluGated(out.as_mut_slice()))?;
            let out = run.values(&out)?;
            let expected = reference::gated(&self.plain, n, reference::silu);
            run.compare("linear_tile_bf16, silu", name, &out, &expected, BF16_LIMIT);
        }
        Ok(())
    }

    fn skinny<F: FnMut(&Check)>(
        &self,
        run: &mut Run<'_, F>,
        variant: SkinnyVariant,
        target: Target,
        with_bias: bool,
    ) -> Result<(), CudaError> {
        let [m, n, k] = self.dims;
        let product = self.product(with_bias);
        let y = if with_bias { &self.biased } else { &self.plain };
        let device = run.device;
        let (out, expected, limit) = match target {
            Target::Bf16 => {
                let mut out = run.poisoned(m * n)?;
                let target = ProductOutput::Bf16(out.as_mut_slice());
                linear::skinny(device, variant, &product, &target)?;
                (run.values(&out)?, y.clone(), BF16_LIMIT)
            }
            Target::F32 => {
                let mut out = run.poisoned(m * n)?;
                let target = ProductOutput::F32(out.as_mut_slice());
                linear::skinny(device, variant, &product, &target)?;
                (run.values(&out)?, y.clone(), F32_LIMIT)
            }
            Target::AddTo => {
                let (mut out, before) = run.random_f32(m * n, 0.0, 1.0)?;
                let target = ProductOutput::AddTo(out.as_mut_slice());
                linear::skinny(device, variant, &product, &target)?;
                let sum = before.iter().zip(y).map(|(before, y)| before.to_f64() + y).collect();
                (run.values(&out)?, sum, F32_LIMIT)
            }
            Target::SiluGated => {
                let mut out = run.poisoned(m * n / 2)?;
                let target = ProductOutput::SiluGated(out.as_mut_slice());
                linear::skinny(device, variant, &product, &target)?;
                (run.values(&out)?, reference::gated(y, n, reference::silu), BF16_LIMIT)
            }
            Target::GeluGated => {
                let mut out = run.poisoned(m * n / 2)?;
                let target = ProductOutput::GeluGated(out.as_mut_slice());
                linear::skinny(device, variant, &product, &target)?;
                (run.values(&out)?, reference::gated(y, n, reference::gelu_tanh), BF16_LIMIT)
            }
        };
        let shape = format!("m {m} n {n} k {k} {target:?} bias {with_bias}");
        run.compare(variant.name(), shape, &out, &expected, limit);
        Ok(())
    }
}

/// A row's result has the same bits in every variant, alone or in company.
fn invariant<F: FnMut(&Check)>(run: &mut Run<'_, F>, case: &Case) -> Result<(), CudaError> {
    let [m, n, k] = case.dims;
    let device = run.device;
    let mut first = run.poisoned(m * n)?;
    let target = ProductOutput::F32(first.as_mut_slice());
    linear::skinny(device, SkinnyVariant::M8, &case.product(false), &target)?;
    let first = run.values(&first)?;
    for variant in SkinnyVariant::ALL {
        let mut out = run.poisoned(m * n)?;
        for row in 0..m {
            let alone =
                Product { x: case.x.as_slice().slice(row * k..(row + 1) * k), m: 1, ..case.product(false) };
            let target = out.as_mut_slice().slice(row * n..(row + 1) * n);
            linear::skinny(device, variant, &alone, &ProductOutput::F32(target))?;
        }
        let alone = run.values(&out)?;
        let name = format!("{} same bits", variant.name());
        run.compare(&name, format!("m {m} n {n} k {k}, each row alone"), &alone, &first, 0.0);
    }
    Ok(())
}

/// The chooser: cuBLASLt where it is installed and there are many rows.
fn blas<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let name = if run.device.has_blas() { "product by cuBLASLt" } else { "product, no cuBLASLt" };
    for dims in [[65, 64, 64], [100, 304, 576], [129, 1040, 4096]] {
        if run.skips(operations(dims)) {
            continue;
        }
        let case = Case::new(run, dims)?;
        let [m, n, k] = dims;
        let shape = format!("m {m} n {n} k {k}");
        let mut out = run.poisoned(m * n)?;
        let target = ProductOutput::Bf16(out.as_mut_slice());
        linear::product(run.device, &case.product(false), target)?;
        let out = run.values(&out)?;
        run.compare(name, format!("{shape} Bf16"), &out, &case.plain, BF16_LIMIT);
        let mut out = run.poisoned(m * n)?;
        linear::product(run.device, &case.product(false), ProductOutput::F32(out.as_mut_slice()))?;
        let out = run.values(&out)?;
        run.compare(name, format!("{shape} F32"), &out, &case.plain, F32_LIMIT);
        let (mut out, before) = run.random_f32(m * n, 0.0, 1.0)?;
        linear::product(run.device, &case.product(false), ProductOutput::AddTo(out.as_mut_slice()))?;
        let sum: Vec<f64> = before.iter().zip(&case.plain).map(|(before, y)| before.to_f64() + y).collect();
        let out = run.values(&out)?;
        run.compare(name, format!("{shape} AddTo"), &out, &sum, F32_LIMIT);
    }
    Ok(())
}
