//! Products against their reference for every type of weight, and their independence of rows and threads.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType as CandleType, Device as CandleDevice, Tensor as CandleTensor};
use half::{bf16, f16};

use super::*;
use crate::cpu::CpuOptions;
use crate::ops::testing::{Random, assert_close, assert_same_bits, devices, tensor, values, workspace};
use crate::weight::{ComputeType, WeightSource, WeightType};

/// A random weight in a file's bytes, and the numbers that these stand for.
fn random_weight(weight_type: WeightType, [n, k]: [usize; 2], random: &mut Random) -> (Vec<u8>, Vec<f32>) {
    let dtype = match weight_type {
        WeightType::F32 => GgmlDType::F32,
        WeightType::F16 => GgmlDType::F16,
        WeightType::BF16 => GgmlDType::BF16,
        WeightType::Q4_0 => GgmlDType::Q4_0,
        WeightType::Q4_1 => GgmlDType::Q4_1,
        WeightType::Q5_0 => GgmlDType::Q5_0,
        WeightType::Q5_1 => GgmlDType::Q5_1,
        WeightType::Q8_0 => GgmlDType::Q8_0,
        WeightType::Q2K => GgmlDType::Q2K,
        WeightType::Q3K => GgmlDType::Q3K,
        WeightType::Q4K => GgmlDType::Q4K,
        WeightType::Q5K => GgmlDType::Q5K,
        WeightType::Q6K => GgmlDType::Q6K,
    };
    quantised(dtype, [n, k], random.numbers(n * k))
}

/// Quantised by candle, which is the oracle of the block formats.
fn quantised(dtype: GgmlDType, shape: [usize; 2], numbers: Vec<f32>) -> (Vec<u8>, Vec<f32>) {
    let source = CandleTensor::from_vec(numbers, &shape[..], &CandleDevice::Cpu).expect("shape fits");
    let quantised = QTensor::quantize(&source, dtype).expect("quantises");
    let numbers = quantised.dequantize(&CandleDevice::Cpu).expect("dequantises");
    let numbers = numbers.flatten_all().and_then(|flat| flat.to_vec1()).expect("is f32");
    (quantised.data().expect("has bytes").to_vec(), numbers)
}

/// The inputs as the op documents that it rounds them.
fn rounded(weight_type: WeightType, x: &[f32]) -> Vec<f64> {
    match weight_type {
        WeightType::F32 | WeightType::F16 => x.iter().map(|&x| f64::from(x)).collect(),
        WeightType::BF16 => x.iter().map(|&x| bf16::from_f32(x).to_f64()).collect(),
        _ => x
            .chunks(32)
            .flat_map(|block| {
                let largest = block.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
                let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                let scale = f64::from(largest / 127.0);
                block.iter().map(move |x| scale * f64::from((x * factor).round_ties_even()))
            })
            .collect(),
    }
}

/// `x [rows, k] * weight^T + bias`, in f64 by candle.
fn reference(x: &[f64], weight: &[f32], bias: &[f32], [rows, n, k]: [usize; 3]) -> Vec<f64> {
    if rows == 0 {
        return Vec::new();
    }
    let device = &CandleDevice::Cpu;
    let product = || -> candle_core::Result<Vec<f64>> {
        let x = CandleTensor::from_slice(x, (rows, k), device)?;
        let weight = CandleTensor::from_slice(weight, (n, k), device)?.to_dtype(CandleType::F64)?;
        let bias = CandleTensor::from_slice(bias, (1, n), device)?.to_dtype(CandleType::F64)?;
        x.matmul(&weight.t()?)?.broadcast_add(&bias)?.flatten_all()?.to_vec1()
    };
    product().expect("shapes fit")
}

/// Runs the op on `rows` rows of `x`.
fn run(device: &Device, weight: &PackedWeight, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let [n, k] = weight.shape();
    let rows = x.len() / k;
    let x = tensor(device, [rows, k], x);
    let bias = bias.map(|bias| tensor(device, [1, n], bias));
    let mut out = tensor(device, [rows, n], &vec![f32::NAN; rows * n]);
    let arguments = LinearArguments { x: x.view(), weight, bias: bias.as_ref().map(|bias| bias.view()) };
    linear(device, &mut workspace(device), arguments, out.view_mut()).expect("arguments fit");
    values(&out)
}

fn pack(device: &Device, weight_type: WeightType, shape: [usize; 2], bytes: &[u8]) -> PackedWeight {
    let source = WeightSource::new(weight_type, shape, bytes).expect("bytes fit");
    PackedWeight::pack(device, &[source], ComputeType::Stored).expect("packs")
}

#[test]
fn every_type_on_every_instruction_set_agrees_with_the_reference() {
    let mut random = Random(1);
    let devices = devices();
    for weight_type in WeightType::ALL {
        let widths: &[usize] = match weight_type.block_len() {
            1 => &[1, 7, 33, 47, 96, 576],
            32 => &[32, 96, 576],
            _ => &[256, 768],
        };
        for &k in widths {
            for (rows, n) in [(0, 16), (1, 130), (2, 1), (5, 35), (17, 64), (40, 100)] {
                let (bytes, numbers) = random_weight(weight_type, [n, k], &mut random);
                let (x, bias) = (random.numbers(rows * k), random.numbers(n));
                let expected = reference(&rounded(weight_type, &x), &numbers, &bias, [rows, n, k]);
                for device in &devices {
                    let weight = pack(device, weight_type, [n, k], &bytes);
                    let what = format!("{weight_type} rows {rows} n {n} k {k} on {device:?}");
                    let actual = run(device, &weight, &x, Some(&bias));
                    assert_close(&what, &actual, &expected, 4e-7 * (k as f64 + 8.0));
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_on_any_number_of_threads() {
    let mut random = Random(2);
    let (n, k) = (150, 512);
    for weight_type in WeightType::ALL {
        let (bytes, _) = random_weight(weight_type, [n, k], &mut random);
        let x = random.numbers(40 * k);
        for device in devices() {
            let weight = pack(&device, weight_type, [n, k], &bytes);
            let alone: Vec<f32> = x.chunks(k).flat_map(|row| run(&device, &weight, row, None)).collect();
            for rows in (1..=17).chain([40]) {
                let together = run(&device, &weight, &x[..rows * k], None);
                let what = format!("{weight_type} {rows} rows on {device:?}");
                assert_same_bits(&what, &together, &alone[..rows * n]);
            }
        }
    }
}

/// bf16 is left out: AVX512-BF16 rounds in its own way.
#[test]
fn instruction_sets_give_the_same_bits() {
    let mut random = Random(3);
    let (n, k) = (70, 256);
    for weight_type in WeightType::ALL.into_iter().filter(|&weight_type| weight_type != WeightType::BF16) {
        let (bytes, _) = random_weight(weight_type, [n, k], &mut random);
        let x = random.numbers(11 * k);
        let mut first: Option<Vec<f32>> = None;
        for device in devices() {
            let actual = run(&device, &pack(&device, weight_type, [n, k], &bytes), &x, None);
            let expected = first.get_or_insert_with(|| actual.clone());
            assert_same_bits(&format!("{weight_type} on {device:?}"), &actual, expected);
        }
    }
}

#[test]
fn the_largest_bytes_do_not_overflow() {
    let k = 64;
    let mut block = vec![0x00, 0x3c];
    block.extend([0x80_u8; 32]);
    let bytes = block.repeat(2 * k / 32);
    for device in devices() {
        let weight = pack(&device, WeightType::Q8_0, [2, k], &bytes);
        let x: Vec<f32> = (0..k).map(|_| 127.0).collect();
        assert_eq!(run(&device, &weight, &x, None), [-128.0 * 127.0 * k as f32; 2]);
    }
}

/// Sources of one type, of two types in turn, and of all types at once, with a bias.
#[test]
fn fused_sources_are_the_sources_side_by_side() {
    let mut random = Random(4);
    let k = 256;
    let device = Device::cpu(&CpuOptions::default()).expect("device starts");
    let mixes = [
        vec![WeightType::Q4K; 3],
        vec![WeightType::Q4K, WeightType::Q6K, WeightType::Q4K],
        WeightType::ALL.to_vec(),
    ];
    for types in mixes {
        let parts: Vec<(WeightType, usize, Vec<u8>)> = types
            .iter()
            .zip([20, 5, 39].into_iter().cycle())
            .map(|(&weight_type, n)| (weight_type, n, random_weight(weight_type, [n, k], &mut random).0))
            .collect();
        let x = random.numbers(3 * k);
        let sources: Vec<WeightSource<'_>> = parts
            .iter()
            .map(|(weight_type, n, bytes)| {
                WeightSource::new(*weight_type, [*n, k], bytes).expect("bytes fit")
            })
            .collect();
        let fused = PackedWeight::pack(&device, &sources, ComputeType::Stored).expect("packs");
        let [columns, _] = fused.shape();
        let bias = random.numbers(columns);
        let together = run(&device, &fused, &x, Some(&bias));
        let mut column = 0;
        for (weight_type, n, bytes) in &parts {
            let weight = pack(&device, *weight_type, [*n, k], bytes);
            let part = run(&device, &weight, &x, Some(&bias[column..column + n]));
            for row in 0..3 {
                let start = row * columns + column;
                assert_same_bits("part", &part[row * n..(row + 1) * n], &together[start..start + n]);
            }
            let (mut read, mut expected) = (vec![0.0; k], vec![0.0; k]);
            fused.as_cpu().expect("packed for the CPU").read_row(column + n - 1, &mut read);
            weight.as_cpu().expect("packed for the CPU").read_row(n - 1, &mut expected);
            assert_same_bits("last row", &read, &expected);
            column += n;
        }
        assert_eq!(column, columns);
    }
}

/// Every lane of every panel: identity rows pick each number out of the weight.
#[test]
fn a_source_of_any_type_packed_as_a_float_is_its_numbers_rounded() {
    let mut random = Random(5);
    let n = 33;
    for source_type in WeightType::ALL {
        let widths: &[usize] = if source_type.block_len() == 1 { &[1, 17, 303] } else { &[256, 768] };
        for &k in widths {
            let (bytes, numbers) = random_weight(source_type, [n, k], &mut random);
            let source = WeightSource::new(source_type, [n, k], &bytes).expect("bytes fit");
            for compute_type in [ComputeType::F32, ComputeType::F16, ComputeType::BF16] {
                let round = |number: &f32| match compute_type {
                    ComputeType::F16 => f16::from_f32(*number).to_f32(),
                    ComputeType::BF16 => bf16::from_f32(*number).to_f32(),
                    _ => *number,
                };
                let expected: Vec<f32> = numbers.iter().map(round).collect();
                for device in devices().into_iter().take(5) {
                    let weight = PackedWeight::pack(&device, &[source], compute_type).expect("packs");
                    let mut row = vec![f32::NAN; k];
                    for (row_idx, expected) in expected.chunks(k).enumerate() {
                        weight.as_cpu().expect("packed for the CPU").read_row(row_idx, &mut row);
                        let what = format!("{source_type} as {compute_type:?}, {k} columns, row {row_idx}");
                        assert_same_bits(&what, &row, expected);
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_arguments_are_errors_that_name_them() {
    let device = Device::cpu(&CpuOptions::default()).expect("device starts");
    let bytes = vec![0; 34 * 4];
    let source =
        |shape| WeightSource::new(WeightType::Q8_0, shape, &bytes).map_err(|error| error.to_string());
    assert_eq!(
        source([4, 33]).expect_err("not whole blocks"),
        "`columns of a quantised weight` is 33, but must be a multiple of 32"
    );
    assert_eq!(source([5, 32]).expect_err("too few bytes"), "`weight` holds 136 bytes, expected 170");
    let source = source([4, 32]).expect("bytes fit");
    let weight = PackedWeight::pack(&device, &[source], ComputeType::Stored).expect("packs");
    let x = tensor(&device, [200, 32], &vec![0.0; 6400]);
    let mut out = tensor(&device, [200, 4], &[0.0; 800]);
    let arguments = LinearArguments { x: x.view(), weight: &weight, bias: None };
    let mut workspace = workspace(&device);
    let error = linear(&device, &mut workspace, arguments, out.view_mut()).expect_err("200 rows");
    assert_eq!(error.to_string(), "`rows of `x`` is 200, limit 128");
    let short = out.rows_mut(3).expect("has rows");
    let error = linear(&device, &mut workspace, arguments, short).expect_err("three rows");
    assert_eq!(error.to_string(), "`out` has shape [3, 4], expected [200, 4]");
}
