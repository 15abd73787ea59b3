//! Packed weights: what goes in comes out.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::*;
use crate::ops::testing::Random;

/// candle is the oracle of the block formats.
#[test]
fn rows_read_back_as_candle_reads_them() {
    let mut random = Random(9);
    let (n, k) = (21, 96);
    let cpu = CpuDevice::all_for_tests(2).remove(0);
    for (dtype, weight_type) in [
        (GgmlDType::F32, WeightType::F32),
        (GgmlDType::F16, WeightType::F16),
        (GgmlDType::BF16, WeightType::BF16),
        (GgmlDType::Q4_0, WeightType::Q4_0),
        (GgmlDType::Q4_1, WeightType::Q4_1),
        (GgmlDType::Q8_0, WeightType::Q8_0),
    ] {
        let numbers = Tensor::from_vec(random.numbers(n * k), (n, k), &Device::Cpu).expect("shape fits");
        let quantised = QTensor::quantize(&numbers, dtype).expect("quantises");
        let expected: Vec<Vec<f32>> =
            quantised.dequantize(&Device::Cpu).and_then(|numbers| numbers.to_vec2()).expect("is f32");
        let bytes = quantised.data().expect("has bytes");
        let source = WeightSource::new(weight_type, [n, k], &bytes).expect("bytes fit");
        let weight = CpuWeight::pack(&cpu, &[source], weight_type, [n, k]).expect("packs");
        for (row, expected) in expected.iter().enumerate() {
            let mut values = vec![f32::NAN; k];
            weight.read_row(row, &mut values);
            assert_eq!(&values, expected, "{weight_type} row {row}");
        }
    }
}
