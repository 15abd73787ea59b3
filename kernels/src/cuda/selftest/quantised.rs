//! Quantised weights: packed from a file's blocks and from bf16, against the CPU's reading of the same bytes.

use half::bf16;

use super::super::error::CudaError;
use super::super::ops::format::QuantisedFormat;
use super::super::ops::linear::{MAX_SKINNY_ROWS, OutputColumns, ProductOutput};
use super::super::ops::packed::{QuantisedWeight, RowOrder};
use super::super::ops::quantised::{self, QuantisedProduct};
use super::embedding::random_weight;
use super::linear::operations;
use super::{Check, Run, reference, widen};
use crate::weight::{Quantisation, WeightType, dequantise};

/// Outputs in f32: scales and minima of groups are rounded to f16, half a step of which is 2^-12 of them.
const F32_LIMIT: f64 = 4e-3;
/// The same of weights that were rounded to bf16: the worst of many sums of `k` such errors.
const ROUNDED_LIMIT: f64 = 1.2e-2;
/// Outputs in bf16.
const BF16_LIMIT: f64 = 4e-3;

/// `[m, n, k]`. Of the two with 256 columns and many rows one has enough of them to fill an emulated device with blocks
/// of two tiles, the other a real one.
const SHAPES: [[usize; 3]; 7] = [
    [1, 16, 256],
    [7, 33, 768],
    [5, 272, 256],
    [3, 9504, 256],
    [13, 272, 1024],
    [40, 96, 4096],
    [130, 144, 512],
];

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for dims in SHAPES {
        // Each case is several products.
        if run.skips(4 * operations(dims)) {
            continue;
        }
        for weight_type in WeightType::ALL {
            if QuantisedFormat::of_blocks(weight_type).is_some() {
                from_blocks(run, weight_type, dims)?;
            }
        }
        for quantisation in Quantisation::ALL {
            let format = QuantisedFormat::of_quantisation(quantisation);
            from_bf16(run, format, dims)?;
        }
    }
    Ok(())
}

fn from_blocks<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    weight_type: WeightType,
    [m, n, k]: [usize; 3],
) -> Result<(), CudaError> {
    let blocks = random_weight(&mut run.random, weight_type, n * k);
    let mut values = vec![0.0; n * k];
    let read = dequantise(weight_type, &blocks, &mut values);
    debug_assert!(read.is_ok(), "the blocks were made for this shape");
    let values = widen(&values);
    let weight = QuantisedWeight::pack(run.device, weight_type, [n, k], RowOrder::Plain, &blocks)?;
    let name = format!("{weight_type} m {m} n {n} k {k}");
    products(run, &name, &weight, &values, m)?;
    if n.is_multiple_of(16) {
        let gated = QuantisedWeight::pack(run.device, weight_type, [n, k], RowOrder::Gated, &blocks)?;
        gated_product(run, &name, &gated, &values, m)?;
    }
    let mut out = run.poisoned(n * k)?;
    weight.dequantise(run.device, &mut out.as_mut_slice())?;
    let out = run.values(&out)?;
    run.compare("dequantise", name.clone(), &out, &values, BF16_LIMIT);

    let tokens = [n as u32 - 1, 0, n as u32 / 2];
    let ids = run.device.upload_new("a test's input", &tokens)?;
    let mut residual = run.poisoned(tokens.len() * k)?;
    quantised::embed(run.device, ids.as_slice(), &weight, Some(2.0), &mut residual.as_mut_slice())?;
    let expected: Vec<f64> =
        tokens.iter().flat_map(|&id| &values[id as usize * k..][..k]).map(|value| 2.0 * value).collect();
    let out = run.values(&residual)?;
    run.compare("embed, packed", name, &out, &expected, F32_LIMIT);
    Ok(())
}

/// What quantising loses is not this test's business: the reference is what dequantising gives.
fn from_bf16<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    format: QuantisedFormat,
    [m, n, k]: [usize; 3],
) -> Result<(), CudaError> {
    let (w, w_host) = run.random_bf16(n * k, 1.0)?;
    let weight = QuantisedWeight::quantise(run.device, format, [n, k], RowOrder::Plain, w.as_slice())?;
    let mut out = run.poisoned(n * k)?;
    weight.dequantise(run.device, &mut out.as_mut_slice())?;
    let values = run.values(&out)?;
    let name = format!("{format:?} m {m} n {n} k {k}");
    let step = match format {
        QuantisedFormat::Q8Row => 0.01,
        QuantisedFormat::F8Row => 0.063,
        _ => 0.16,
    };
    run.compare("quantise", name.clone(), &values, &widen(&w_host), step);
    products(run, &name, &weight, &values, m)
}

/// A product of its own, and one into the middle of a wider matrix.
fn products<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    name: &str,
    weight: &QuantisedWeight,
    values: &[f64],
    m: usize,
) -> Result<(), CudaError> {
    let [n, k] = weight.shape();
    let (x, x_host) = run.random_bf16(m * k, 1.0)?;
    let (bias, bias_host) = run.random_f32(n, 0.0, 1.0)?;
    let expected = reference::linear(&widen(&x_host), values, Some(&widen(&bias_host)), [m, n, k]);
    let product = QuantisedProduct { x: x.as_slice(), w: weight, bias: Some(bias.as_slice()), m };
    let mut out = run.poisoned(m * n)?;
    quantised::product(run.device, &product, &ProductOutput::F32(out.as_mut_slice()))?;
    let out = run.values(&out)?;
    // A value that dequantising has rounded to bf16 is off by half a step of its last place.
    // The product of many rows does so itself.
    let is_rounded = m > MAX_SKINNY_ROWS
        || Quantisation::ALL.map(QuantisedFormat::of_quantisation).contains(&weight.format());
    let limit = if is_rounded { ROUNDED_LIMIT } else { F32_LIMIT };
    run.compare("linear, quantised", name.to_owned(), &out, &expected, limit);

    let columns = OutputColumns { first: 5, stride: n + 8 };
    let (mut wide, wide_host) = run.random_f32(m * columns.stride, 0.0, 1.0)?;
    quantised::product_part(run.device, &product, &ProductOutput::F32(wide.as_mut_slice()), columns)?;
    let mut expected_wide = widen(&wide_host);
    for (row, expected) in expected_wide.chunks_exact_mut(columns.stride).zip(expected.chunks_exact(n)) {
        row[columns.first..columns.first + n].copy_from_slice(expected);
    }
    let wide = run.values(&wide)?;
    run.compare("linear, quantised, part", name.to_owned(), &wide, &expected_wide, limit);
    Ok(())
}

fn gated_product<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    name: &str,
    weight: &QuantisedWeight,
    values: &[f64],
    m: usize,
) -> Result<(), CudaError> {
    let [n, k] = weight.shape();
    let (x, x_host) = run.random_bf16(m * k, 2.0 / (k as f32).sqrt())?;
    let y = reference::linear(&widen(&x_host), values, None, [m, n, k]);
    let product = QuantisedProduct { x: x.as_slice(), w: weight, bias: None, m };
    let mut out = run.poisoned::<bf16>(m * n / 2)?;
    quantised::product(run.device, &product, &ProductOutput::SiluGated(out.as_mut_slice()))?;
    let out = run.values(&out)?;
    let expected = reference::gated(&y, n, reference::silu);
    run.compare("linear, quantised, silu", name.to_owned(), &out, &expected, BF16_LIMIT);
    Ok(())
}
