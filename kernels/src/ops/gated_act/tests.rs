//! The activation against its reference, on every instruction set.

use candle_core::{DType as CandleType, Device as CandleDevice, Tensor as CandleTensor};

use super::*;
use crate::ops::testing::{Random, assert_close, assert_same_bits, devices, tensor, values};

/// In f64 by candle.
fn reference(activation: Activation, gate_up: &[f32], [tokens, ffn]: [usize; 2]) -> Vec<f64> {
    let result = || -> candle_core::Result<Vec<f64>> {
        let both = CandleTensor::from_slice(gate_up, (tokens, 2 * ffn), &CandleDevice::Cpu)?
            .to_dtype(CandleType::F64)?;
        let gate = both.narrow(1, 0, ffn)?;
        let activated = match activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        (activated * both.narrow(1, ffn, ffn)?)?.flatten_all()?.to_vec1()
    };
    result().expect("shapes fit")
}

#[test]
fn agrees_with_the_reference_on_every_instruction_set() {
    let mut random = Random(1);
    let shapes = [(1, 16), (5, 100), (9, 7)];
    let both = |shape| [(shape, Activation::Silu), (shape, Activation::GeluTanh)];
    for ((tokens, ffn), activation) in shapes.into_iter().flat_map(both) {
        let gate_up: Vec<f32> = random.numbers(tokens * 2 * ffn).iter().map(|x| x * 12.0).collect();
        let expected = reference(activation, &gate_up, [tokens, ffn]);
        let mut first: Option<Vec<f32>> = None;
        for device in devices() {
            let gate_up = tensor(&device, [tokens, 2 * ffn], &gate_up);
            let mut out = tensor(&device, [tokens, ffn], &vec![f32::NAN; tokens * ffn]);
            gated_act(&device, activation, gate_up.view(), out.view_mut()).expect("arguments fit");
            assert_close("out", &values(&out), &expected, 3e-5);
            let first = first.get_or_insert_with(|| values(&out));
            assert_same_bits("instruction sets", &values(&out), first);
        }
    }
}

#[test]
fn far_gates_neither_overflow_nor_leave_a_trace() {
    let device = devices().remove(0);
    let gate_up = tensor(&device, [1, 4], &[200.0, -200.0, 2.0, 2.0]);
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let mut out = tensor(&device, [1, 2], &[f32::NAN; 2]);
        gated_act(&device, activation, gate_up.view(), out.view_mut()).expect("arguments fit");
        assert_close("out", &values(&out), &[400.0, 0.0], 1e-30);
        let none = gate_up.rows(0).expect("none");
        gated_act(&device, activation, none, out.rows_mut(0).expect("none")).expect("fine");
        assert!(gated_act(&device, activation, gate_up.view(), out.rows_mut(0).expect("none")).is_err());
    }
}
