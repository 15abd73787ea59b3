//! Packed weights: what goes in comes out.

use super::*;
use crate::ops::testing::{Random, assert_same_bits};
use crate::weight::dequantise;

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
