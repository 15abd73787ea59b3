//! Weights of several matrices of different types, against the CPU's reading of the same bytes.

use super::super::error::CudaError;
use super::super::ops::format::QuantisedFormat;
use super::super::ops::linear::ProductOutput;
use super::super::ops::stacked::{SourcesKept, StackedWeight};
use super::embedding::random_weight;
use super::{Check, Run, reference, widen};
use crate::weight::{Quantisation, WeightSource, WeightType, dequantise};

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
        for quantisation in Quantisation::ALL {
            quantised(run, m, quantisation)?;
        }
        for weight_type in [WeightType::Q4_0, WeightType::Q4_1] {
            alike(run, m, weight_type)?;
        }
    }
    Ok(())
}

/// Floats of every type quantised on the way, and blocks among them that stay as they are.
fn quantised<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    m: usize,
    quantisation: Quantisation,
) -> Result<(), CudaError> {
    let k = 416;
    let parts = [
        (WeightType::BF16, 48),
        (WeightType::F32, 16),
        (WeightType::F16, 37),
        (WeightType::Q8_0, 16),
        (WeightType::BF16, 5),
    ];
    let encoded = parts.map(|(weight_type, rows)| random_weight(&mut run.random, weight_type, rows * k));
    let mut values = Vec::new();
    for ((weight_type, rows), bytes) in parts.iter().zip(&encoded) {
        let mut numbers = vec![0.0; rows * k];
        let read = dequantise(*weight_type, bytes, &mut numbers);
        debug_assert!(read.is_ok(), "the bytes were made for this shape");
        if *weight_type != WeightType::Q8_0 {
            reference::quantise(quantisation, &mut numbers, k);
        }
        values.extend(widen(&numbers));
    }
    let sources: Vec<WeightSource<'_>> = parts
        .iter()
        .zip(&encoded)
        .filter_map(|(&(weight_type, rows), bytes)| WeightSource::new(weight_type, [rows, k], bytes).ok())
        .collect();
    let weight = StackedWeight::pack(run.device, &sources, SourcesKept::Quantised(quantisation))?;
    let name = format!("m {m} n {} k {k} in {quantisation}", weight.shape()[0]);
    product(run, &name, &weight, &values, m)?;

    // A table that the last product shares.
    let table = StackedWeight::pack(run.device, &sources[..1], SourcesKept::Quantised(quantisation))?;
    let ids = run.device.upload_new("a test's input", &[3_u32, 47])?;
    let mut residual = run.poisoned(2 * k)?;
    table.embed(run.device, ids.as_slice(), None, &mut residual.as_mut_slice())?;
    let expected = [&values[3 * k..4 * k], &values[47 * k..48 * k]].concat();
    let out = run.values(&residual)?;
    run.compare("embed, quantised", name, &out, &expected, LIMIT);
    Ok(())
}

/// Blocks of which each four share their scale, as AWQ and GPTQ arrive: kept in groups of 128.
fn alike<F: FnMut(&Check)>(run: &mut Run<'_, F>, m: usize, weight_type: WeightType) -> Result<(), CudaError> {
    let (n, k) = (33, 416);
    let (block_bytes, row_blocks) = (weight_type.block_bytes(), k / weight_type.block_len());
    let (format, head_bytes) = match weight_type {
        WeightType::Q4_1 => (QuantisedFormat::Q4Group128Min, 4),
        _ => (QuantisedFormat::Q4Group128, 2),
    };
    let mut blocks = random_weight(&mut run.random, weight_type, n * k);
    for row in blocks.chunks_exact_mut(row_blocks * block_bytes) {
        for group in row.chunks_mut(4 * block_bytes) {
            let (first, others) = group.split_at_mut(block_bytes);
            for block in others.chunks_exact_mut(block_bytes) {
                block[..head_bytes].copy_from_slice(&first[..head_bytes]);
            }
        }
    }
    let mut numbers = vec![0.0; n * k];
    let read = dequantise(weight_type, &blocks, &mut numbers);
    debug_assert!(read.is_ok(), "the bytes were made for this shape");
    let values = widen(&numbers);
    let sources: Vec<WeightSource<'_>> =
        WeightSource::new(weight_type, [n, k], &blocks).into_iter().collect();
    let weight = StackedWeight::pack(run.device, &sources, SourcesKept::AsStored)?;
    let name = format!("m {m} n {n} k {k} of alike {weight_type}");
    let bytes = [weight.size_bytes() as f64];
    run.compare("size, alike", name.clone(), &bytes, &[format.size_bytes([n, k]) as f64], 0.0);
    product(run, &name, &weight, &values, m)?;

    let ids = run.device.upload_new("a test's input", &[3_u32, 32])?;
    let mut residual = run.poisoned(2 * k)?;
    weight.embed(run.device, ids.as_slice(), None, &mut residual.as_mut_slice())?;
    let expected = [&values[3 * k..4 * k], &values[32 * k..]].concat();
    let out = run.values(&residual)?;
    run.compare("embed, alike", name, &out, &expected, LIMIT);
    Ok(())
}

/// The product with all parts, and a bias.
fn product<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    name: &str,
    weight: &StackedWeight,
    values: &[f64],
    m: usize,
) -> Result<(), CudaError> {
    let [n, k] = weight.shape();
    let (x, x_host) = run.random_bf16(m * k, 1.0)?;
    let (bias, bias_host) = run.random_f32(n, 0.0, 1.0)?;
    let mut out = run.poisoned(m * n)?;
    let target = ProductOutput::F32(out.as_mut_slice());
    weight.product(run.device, x.as_slice(), Some(bias.as_slice()), m, target)?;
    let expected = reference::linear(&widen(&x_host), values, Some(&widen(&bias_host)), [m, n, k]);
    let out = run.values(&out)?;
    run.compare("linear, stacked", name.to_owned(), &out, &expected, LIMIT);
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
    let weight = StackedWeight::pack(run.device, &sources, SourcesKept::AsStored)?;
    let [n, _] = weight.shape();
    product(run, &format!("m {m} n {n} k {k} of {}", parts.len()), &weight, &values, m)?;
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
