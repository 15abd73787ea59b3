//! The soft cap of the last logits.

use crate::cpu;
use crate::device::Device;
use crate::error::KernelError;
use crate::tensor::TensorViewMut;

/// `x = cap * tanh(x / cap)`.
///
/// # Shapes
///
/// - `x`: any
///
/// # Errors
///
/// [`KernelError::ElementType`] if `x` is not f32.
///
/// Source: Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", 2016.
pub fn soft_cap(device: &Device, cap: f32, mut x: TensorViewMut<'_>) -> Result<(), KernelError> {
    match device {
        Device::Cpu(cpu) => cpu::soft_cap(cpu, cap, x.as_f32_mut("x")?),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => crate::cuda::dispatch::soft_cap(cuda, cap, x)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Random, assert_close, assert_same_bits, devices, tensor, values};

    #[test]
    fn agrees_with_the_reference_and_keeps_the_digits_of_small_numbers() {
        let (rows, columns) = (3, 7001);
        let mut x = Random(1).numbers(rows * columns);
        for (index, x) in x.iter_mut().enumerate() {
            *x *= 10_f32.powi(index as i32 % 8 - 5);
        }
        let expected: Vec<f64> = x.iter().map(|&x| 30.0 * (f64::from(x) / 30.0).tanh()).collect();
        let mut first: Option<Vec<f32>> = None;
        for device in devices() {
            let mut capped = tensor(&device, [rows, columns], &x);
            soft_cap(&device, 30.0, capped.view_mut()).expect("arguments fit");
            let capped = values(&capped);
            assert_close("capped", &capped, &expected, 8e-6);
            for (capped, expected) in capped.iter().zip(&expected) {
                let error = (f64::from(*capped) - expected).abs();
                assert!(error <= expected.abs() * 5e-7, "{capped}, expected {expected}");
            }
            let first = first.get_or_insert_with(|| capped.clone());
            assert_same_bits("instruction sets", &capped, first);
        }
    }

    #[test]
    fn what_is_no_number_stays_none_on_every_instruction_set() {
        for device in devices() {
            let mut x = tensor(&device, [1, 18], &[f32::NAN; 18]);
            soft_cap(&device, 30.0, x.view_mut()).expect("arguments fit");
            assert!(values(&x).iter().all(|x| x.is_nan()), "{:?}", values(&x));
        }
    }

    #[test]
    fn far_numbers_become_the_cap() {
        let device = devices().remove(0);
        let mut x = tensor(&device, [1, 4], &[1e30, -1e30, f32::INFINITY, 0.0]);
        soft_cap(&device, 50.0, x.view_mut()).expect("arguments fit");
        assert_eq!(values(&x), [50.0, -50.0, 50.0, 0.0]);
    }
}
