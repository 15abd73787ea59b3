//! The norm against its reference, on every instruction set.

use candle_core::{D, DType as CandleType, Device as CandleDevice, Tensor as CandleTensor};

use super::*;
use crate::ops::testing::{Random, assert_close, assert_same_bits, devices, tensor, values};

/// The sum, and it normalised, in f64 by candle; with a norm of the delta's own if there is a weight for it.
fn reference(
    x: &[f32],
    delta: &[f32],
    weight: &[f32],
    delta_weight: Option<&[f32]>,
    epsilon: f64,
) -> (Vec<f64>, Vec<f64>) {
    let hidden = weight.len();
    let matrix = |values: &[f32]| {
        CandleTensor::from_slice(values, (values.len() / hidden, hidden), &CandleDevice::Cpu)?
            .to_dtype(CandleType::F64)
    };
    let result = || -> candle_core::Result<(Vec<f64>, Vec<f64>)> {
        let norm = |x: &CandleTensor, weight: &[f32]| {
            let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?;
            x.broadcast_div(&mean.sqrt()?)?.broadcast_mul(&matrix(weight)?)
        };
        let delta = match delta_weight {
            Some(weight) => norm(&matrix(delta)?, weight)?,
            None => matrix(delta)?,
        };
        let sum = (matrix(x)? + delta)?;
        let out = norm(&sum, weight)?;
        Ok((sum.flatten_all()?.to_vec1()?, out.flatten_all()?.to_vec1()?))
    };
    result().expect("shapes fit")
}

#[test]
fn agrees_with_the_reference_on_every_instruction_set() {
    let mut random = Random(1);
    let shapes = [(1, 16), (3, 576), (9, 50), (17, 7)];
    for ((tokens, hidden), with_norm) in shapes.into_iter().flat_map(|shape| [(shape, false), (shape, true)])
    {
        let (x, delta) = (random.numbers(tokens * hidden), random.numbers(tokens * hidden));
        let weight = random.numbers(hidden);
        let own = random.numbers(hidden);
        let (sum, expected) = reference(&x, &delta, &weight, with_norm.then_some(&own[..]), 1e-5);
        let mut first: Option<Vec<f32>> = None;
        for device in devices() {
            let mut residual = tensor(&device, [tokens, hidden], &x);
            let delta = tensor(&device, [tokens, hidden], &delta);
            let weight = tensor(&device, [1, hidden], &weight);
            let mut out = tensor(&device, [tokens, hidden], &vec![f32::NAN; x.len()]);
            let own = tensor(&device, [1, hidden], &own);
            let delta = Delta { x: delta.view(), norm: with_norm.then(|| own.view()) };
            let arguments = NormArguments { delta: Some(delta), weight: weight.view(), epsilon: 1e-5 };
            add_rms_norm(&device, arguments, residual.view_mut(), out.view_mut()).expect("arguments fit");
            assert_close("residual", &values(&residual), &sum, 6e-7);
            assert_close("out", &values(&out), &expected, 3e-6);
            let first = first.get_or_insert_with(|| values(&out));
            assert_same_bits("instruction sets", &values(&out), first);
        }
    }
}

#[test]
fn without_a_delta_the_residual_stays() {
    let device = devices().remove(0);
    let mut residual = tensor(&device, [1, 2], &[3.0, 4.0]);
    let weight = tensor(&device, [1, 2], &[1.0, 2.0]);
    let mut out = tensor(&device, [1, 2], &[0.0; 2]);
    let arguments = NormArguments { delta: None, weight: weight.view(), epsilon: 0.0 };
    add_rms_norm(&device, arguments, residual.view_mut(), out.view_mut()).expect("arguments fit");
    assert_eq!(values(&residual), [3.0, 4.0]);
    let root = 12.5_f64.sqrt();
    assert_close("out", &values(&out), &[3.0 / root, 8.0 / root], 1e-6);
    let none = residual.rows_mut(0).expect("none");
    add_rms_norm(&device, arguments, none, out.rows_mut(0).expect("none")).expect("no tokens are fine");
}
