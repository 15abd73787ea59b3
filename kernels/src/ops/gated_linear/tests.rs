//! One op against the two that it stands for.

use super::*;
use crate::ops::testing::{Random, assert_same_bits, devices, tensor, values, workspace};
use crate::weight::{ComputeType, WeightSource, WeightType};

#[test]
fn gives_what_a_product_and_a_gate_give() {
    let mut random = Random(3);
    let (tokens, ffn, k) = (5, 24, 32);
    let x = random.numbers(tokens * k);
    let bytes: Vec<u8> = random.numbers(2 * ffn * k).iter().flat_map(|number| number.to_le_bytes()).collect();
    for device in devices() {
        let mut workspace = workspace(&device);
        let source = WeightSource::new(WeightType::F32, [2 * ffn, k], &bytes).expect("bytes fit");
        let weight = PackedWeight::pack(&device, &[source], ComputeType::F32).expect("packs");
        let x = tensor(&device, [tokens, k], &x);
        let empty = |columns| tensor(&device, [tokens, columns], &vec![f32::NAN; tokens * columns]);
        let (mut gate_up, mut expected) = (empty(2 * ffn), empty(ffn));
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let product = LinearArguments { x: x.view(), weight: &weight, bias: None };
            linear(&device, &mut workspace, product, gate_up.view_mut()).expect("arguments fit");
            gated_act(&device, activation, gate_up.view(), expected.view_mut()).expect("arguments fit");
            let (mut scratch, mut out) = (empty(2 * ffn), empty(ffn));
            let arguments = GatedLinearArguments { x: x.view(), weight: &weight, activation };
            gated_linear(&device, &mut workspace, arguments, scratch.view_mut(), out.view_mut())
                .expect("arguments fit");
            assert_same_bits("gated product", &values(&out), &values(&expected));
        }
    }
}
