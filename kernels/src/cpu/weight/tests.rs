//! Packed weights: what goes in comes out.

use super::*;
use crate::ops::testing::{Random, assert_same_bits};
use crate::weight::{Quantisation, dequantise};

/// Any bytes are blocks, but for scales that are no numbers.
#[test]
fn rows_of_every_type_read_back_as_their_format_defines_them() {
    let mut random = Random(9);
    let (n, k) = (21, 768);
    for cpu in CpuDevice::all_for_tests(2) {
        for weight_type in WeightType::ALL {
            let row_bytes = weight_type.row_bytes(k).expect("whole blocks");
            let bytes: Vec<u8> = (0..n * row_bytes).map(|_| random.bits() as u8).collect();
            let source = WeightSource::new(weight_type, [n, k], &bytes).expect("bytes fit");
            let weight = CpuWeight::pack(&cpu, &[source], ComputeType::Stored).expect("packs");
            assert_eq!((weight.n(), weight.k()), (n, k));
            for row in 0..n {
                let (mut values, mut expected) = (vec![0.0; k], vec![0.0; k]);
                dequantise(weight_type, source.row(row), &mut expected).expect("whole blocks");
                weight.read_row(row, &mut values);
                // A NaN keeps neither sign nor payload.
                for (value, expected) in values.iter_mut().zip(&mut expected) {
                    if value.is_nan() && expected.is_nan() {
                        (*value, *expected) = (0.0, 0.0);
                    }
                }
                assert_same_bits(&format!("{weight_type} row {row} on {:?}", cpu.isa()), &values, &expected);
            }
        }
    }
}

#[test]
fn floats_are_quantised_to_what_encoding_their_rows_gives_and_blocks_stay_as_they_are() {
    let mut random = Random(3);
    let (n, k) = (21, 96);
    let cpu = CpuDevice::all_for_tests(2).remove(0);
    for what in [Quantisation::Int8, Quantisation::Int4] {
        let weight_type = what.cpu_type().expect("the CPU has it");
        for stored in [WeightType::F32, WeightType::F16, WeightType::BF16, WeightType::Q5_1] {
            let numbers: Vec<f32> = (0..n * k).map(|_| random.number()).collect();
            let mut bytes = vec![0; n * stored.row_bytes(k).expect("whole blocks")];
            encode_numbers(stored, &numbers, &mut bytes);
            let source = WeightSource::new(stored, [n, k], &bytes).expect("bytes fit");
            let weight = CpuWeight::pack(&cpu, &[source], ComputeType::Quantised(what)).expect("packs");
            let (mut values, mut expected) = (vec![0.0; k], vec![0.0; k]);
            for row in 0..n {
                dequantise(stored, source.row(row), &mut expected).expect("whole blocks");
                if BlockForm::of(stored).is_none() {
                    let mut blocks = vec![0; weight_type.row_bytes(k).expect("whole blocks")];
                    encode_numbers(weight_type, &expected, &mut blocks);
                    dequantise(weight_type, &blocks, &mut expected).expect("whole blocks");
                }
                weight.read_row(row, &mut values);
                assert_same_bits(&format!("{stored} to {what}, row {row}"), &values, &expected);
            }
        }
    }
}

#[test]
fn what_the_cpu_cannot_quantise_to_is_refused() {
    let cpu = CpuDevice::all_for_tests(1).remove(0);
    let source = WeightSource::new(WeightType::F32, [1, 32], &[0; 128]).expect("bytes fit");
    let error = CpuWeight::pack(&cpu, &[source], ComputeType::Quantised(Quantisation::Fp8));
    let error = error.expect_err("there are no such products").to_string();
    assert_eq!(error, "fp8 weights are served on a GPU only; take int8 or int4 on the CPU");
    let device = crate::Device::Cpu(cpu);
    let source = WeightSource::new(WeightType::F32, [1, 40], &[0; 160]).expect("bytes fit");
    let error = crate::PackedWeight::pack(&device, &[source], ComputeType::Quantised(Quantisation::Int8));
    let error = error.expect_err("no whole blocks").to_string();
    assert_eq!(error, "`columns of a weight to be quantised` is 40, but must be a multiple of 32");
}

/// Memory decides how fast one row is computed, so no form may be wasteful.
#[test]
fn a_packed_weight_is_hardly_larger_than_its_file() {
    let cpu = CpuDevice::all_for_tests(1).remove(0);
    let (n, k) = (64, 2048);
    for weight_type in WeightType::ALL {
        let bytes = vec![0; n * weight_type.row_bytes(k).expect("whole blocks")];
        let source = WeightSource::new(weight_type, [n, k], &bytes).expect("bytes fit");
        let weight = CpuWeight::pack(&cpu, &[source], ComputeType::Stored).expect("packs");
        // Q2_K's scales and minima have four bits in a file and eight here.
        let most = if weight_type == WeightType::Q2K { 1.2 } else { 1.06 };
        let ratio = weight.size_bytes() as f64 / bytes.len() as f64;
        assert!(ratio <= most, "{weight_type} takes {ratio} times its file");
    }
}
