//! Runs every kernel on the device over random inputs and compares with sums taken in f64.
//!
//! The reference here is written for being right, not fast, and shares nothing with the kernels. An
//! output is filled with NaN before its kernel runs, so an element that nobody wrote is an error.
//! Inputs are drawn from a seed that is part of the report.

mod attention;
mod embedding;
mod linear;
mod prefill;
mod quantised;
mod reference;
mod rows;
mod runtime;
mod sampling;
mod stacked;
mod step;

use std::fmt;

use half::bf16;

use super::buffer::{DeviceBuffer, DeviceElement};
use super::device::CudaDevice;
use super::error::CudaError;
use crate::e4m3::E4m3;

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The kernel, or what else was tried.
    pub name: String,
    /// The shapes it was tried on.
    pub shape: String,
    /// The largest `|out - reference| / (|reference| + rms(reference))`; infinite for NaN.
    pub max_error: f64,
    /// The largest that passes.
    pub tolerance: f64,
}

impl Check {
    /// Whether it passed.
    pub fn is_ok(&self) -> bool {
        self.max_error <= self.tolerance
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "ok" } else { "FAILED" };
        write!(
            formatter,
            "{:<28} {:<52} error {:<9.2e} limit {:<9.2e} {verdict}",
            self.name, self.shape, self.max_error, self.tolerance
        )
    }
}

/// What [`selftest`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestReport {
    /// What the random inputs were drawn from.
    pub seed: u64,
    /// Every comparison, in the order they were made.
    pub checks: Vec<Check>,
}

impl SelfTestReport {
    /// How many comparisons failed.
    pub fn num_failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.is_ok()).count()
    }
}

/// Tries every kernel. `on_check` hears of each comparison as it is made.
///
/// # Errors
///
/// A refused launch or a lost device ends the test; a wrong result does not, and is in the report.
pub fn selftest(
    device: &CudaDevice,
    seed: u64,
    on_check: impl FnMut(&Check),
) -> Result<SelfTestReport, CudaError> {
    run_all(device, seed, usize::MAX, on_check)
}

/// The same without the cases that would keep an emulated device busy for long.
///
/// # Errors
///
/// As [`selftest`].
pub fn small_selftest(
    device: &CudaDevice,
    seed: u64,
    on_check: impl FnMut(&Check),
) -> Result<SelfTestReport, CudaError> {
    run_all(device, seed, 1 << 24, on_check)
}

fn run_all(
    device: &CudaDevice,
    seed: u64,
    max_operations: usize,
    on_check: impl FnMut(&Check),
) -> Result<SelfTestReport, CudaError> {
    let mut run = Run { device, random: Random::new(seed), max_operations, checks: Vec::new(), on_check };
    embedding::run(&mut run)?;
    rows::run(&mut run)?;
    linear::run(&mut run)?;
    quantised::run(&mut run)?;
    stacked::run(&mut run)?;
    attention::run(&mut run)?;
    prefill::run(&mut run)?;
    step::run(&mut run)?;
    sampling::run(&mut run)?;
    runtime::run(&mut run)?;
    Ok(SelfTestReport { seed, checks: run.checks })
}

/// A test run under way.
struct Run<'a, F> {
    device: &'a CudaDevice,
    random: Random,
    /// Most multiplications of one case.
    max_operations: usize,
    checks: Vec<Check>,
    on_check: F,
}

impl<F> Run<'_, F> {
    /// Whether a case of so many multiplications is left out.
    fn skips(&self, num_operations: usize) -> bool {
        num_operations > self.max_operations
    }
}

impl<F: FnMut(&Check)> Run<'_, F> {
    /// Compares, reports and keeps.
    fn compare(&mut self, name: &str, shape: String, out: &[f64], reference: &[f64], tolerance: f64) {
        let max_error = max_error(out, reference);
        let check = Check { name: name.to_owned(), shape, max_error, tolerance };
        (self.on_check)(&check);
        self.checks.push(check);
    }

    /// A device buffer of values uniform in `(-amplitude, amplitude)`, and the values.
    fn random_bf16(
        &mut self,
        len: usize,
        amplitude: f32,
    ) -> Result<(DeviceBuffer<bf16>, Vec<bf16>), CudaError> {
        let host: Vec<bf16> = (0..len).map(|_| bf16::from_f32(self.random.signed() * amplitude)).collect();
        Ok((self.device.upload_new("a test's input", &host)?, host))
    }

    /// As [`Self::random_bf16`], in f32 and around `center`.
    fn random_f32(
        &mut self,
        len: usize,
        center: f32,
        amplitude: f32,
    ) -> Result<(DeviceBuffer<f32>, Vec<f32>), CudaError> {
        let host: Vec<f32> = (0..len).map(|_| center + self.random.signed() * amplitude).collect();
        Ok((self.device.upload_new("a test's input", &host)?, host))
    }

    /// An output filled with NaN (for integers: with the largest value).
    fn poisoned<T: DeviceElement>(&self, len: usize) -> Result<DeviceBuffer<T>, CudaError> {
        let mut buffer = self.device.alloc("a test's output", len)?;
        self.device.fill_bytes(&mut buffer.as_mut_slice(), 0xff)?;
        Ok(buffer)
    }

    /// A buffer's values.
    fn values<T: DeviceElement + Default + ToF64>(
        &self,
        buffer: &DeviceBuffer<T>,
    ) -> Result<Vec<f64>, CudaError> {
        let host = self.device.download_vec(buffer.as_slice())?;
        Ok(host.into_iter().map(ToF64::to_f64).collect())
    }
}

/// Widens any element.
trait ToF64: Copy {
    fn to_f64(self) -> f64;
}

impl ToF64 for bf16 {
    fn to_f64(self) -> f64 {
        bf16::to_f64(self)
    }
}

impl ToF64 for E4m3 {
    fn to_f64(self) -> f64 {
        E4m3::to_f64(self)
    }
}

impl ToF64 for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl ToF64 for u32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

/// Widens a slice.
fn widen<T: ToF64>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// The error of [`Check::max_error`].
fn max_error(out: &[f64], reference: &[f64]) -> f64 {
    if out.len() != reference.len() {
        return f64::INFINITY;
    }
    let squares: f64 = reference.iter().map(|value| value * value).sum();
    let rms = (squares / reference.len().max(1) as f64).sqrt();
    let mut worst = 0.0_f64;
    for (out, reference) in out.iter().zip(reference) {
        let difference = (out - reference).abs();
        // Exact agreement first: it also covers a reference that is zero throughout.
        let error = if difference == 0.0 { 0.0 } else { difference / (reference.abs() + rms) };
        if error.is_nan() {
            return f64::INFINITY;
        }
        worst = worst.max(error);
    }
    worst
}

/// Numbers from a seed: the splitmix64 sequence (Steele, Lea and Flood, 2014).
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in `(-1, 1)`.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Uniform in `0..limit`.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// The numbers `0..len` in random order.
    fn permutation(&mut self, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for index in (1..len).rev() {
            order.swap(index, self.below(index + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritten_element_is_an_infinite_error() {
        assert!(max_error(&[1.0, f64::NAN], &[1.0, 2.0]).is_infinite());
        assert!(max_error(&[1.0], &[1.0, 2.0]).is_infinite());
    }

    #[test]
    fn a_wrong_element_shows_however_small_its_reference() {
        assert!(max_error(&[0.0, 2.0], &[0.0, 2.0]) <= 0.0);
        assert!(max_error(&[1.0, 2.0], &[0.0, 2.0]) > 0.5);
        assert!(max_error(&[0.0; 3], &[0.0; 3]) <= 0.0);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Random::new(3).permutation(100);
        assert_ne!(order[..5], [0, 1, 2, 3, 4]);
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<u32>>());
    }
}
