//! Weights of several matrices of different types, against the CPU's reading of the same bytes.

use super::super::error::CudaError;
use super::super::ops::linear::ProductOutput;
use super::super::ops::stacked::{QuantisedSources, StackedWeight};
use super::embedding::random_weight;
use super::{Check, Run, reference, widen};
use crate::weight::{WeightSource, WeightType, dequantise};

/// Outputs in f32, of weights that were rounded to bf16: the worst of many sums of `k` such errors.
const LIMIT: f64 = 1.2e-2;

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let mixed = [
        (WeightType::Q4K, 48),
        (WeightType::Q4K, 17),
        (WeightType::Q6K, 33),
        (WeightType::BF16, 16),
        (WeightType::Q2K, 9),
        (WeightType::Q3K, 8),
        (WeightType::Q8_0, 5),
    ];
    for m in [1, 13, 70] {
        stacked(run, m, &mixed)?;
        stacked(run, m, &[(WeightType::Q5K, 40)])?;
        stacked(run, m, &[(WeightType::F16, 24), (WeightType::F32, 16)])?;
    }
    Ok(())
}

fn stacked<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    m: usize,
    parts: &[(WeightType, usize)],
) -> Result<(), CudaError> {
    let k = 512;
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    for &(weight_type, rows) in parts {
        let encoded = random_weight(&mut run.random, weight_type, rows * k);
        let mut numbers = vec![0.0; rows * k];
        let read = dequantise(weight_type, &encoded, &mut numbers);
        debug_assert!(read.is_ok(), "the bytes were made for this shape");
        bytes.push(encoded);
        values.extend(widen(&numbers));
    }
    let sources: Vec<WeightSource<'_>> = parts
        .iter()
        .zip(&bytes)
        .filter_map(|(&(weight_type, rows), bytes)| WeightSource::new(weight_type, [rows, k], bytes).ok())
        .collect();
    let weight = StackedWeight::pack(run.device, &sources, QuantisedSources::Kept)?;
    let [n, _] = weight.shape();
    let (x, x_host) = run.random_bf16(m * k, 1.0)?;
    let (bias, bias_host) = run.random_f32(n, 0.0, 1.0)?;
    let mut out = run.poisoned(m * n)?;
    let target = ProductOutput::F32(out.as_mut_slice());
    weight.product(run.device, x.as_slice(), Some(bias.as_slice()), m, target)?;
    let expected = reference::linear(&widen(&x_host), &values, Some(&widen(&bias_host)), [m, n, k]);
    let out = run.values(&out)?;
    run.compare("linear, stacked", format!("m {m} n {n} k {k} of {}", parts.len()), &out, &expected, LIMIT);
    if parts.len() > 1 && parts[0].0 != WeightType::F16 {
        return Ok(());
    }
    let ids = run.device.upload_new("a test's input", &[3_u32, n as u32 - 1])?;
    let mut residual = run.poisoned(2 * k)?;
    weight.embed(run.device, ids.as_slice(), None, &mut residual.as_mut_slice())?;
    let expected = [&values[3 * k..4 * k], &values[(n - 1) * k..]].concat();
    let out = run.values(&residual)?;
    run.compare("embed, stacked", format!("n {n} k {k} of {}", parts.len()), &out, &expected, LIMIT);
    Ok(())
}
