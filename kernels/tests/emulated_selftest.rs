//! The device's self-test on the stand-in for NVIDIA's driver: every wrapper and every kernel on small shapes.
//!
//! No GPU and no CUDA library are needed; where there is no C++ compiler the test says so and passes.

#![cfg(feature = "cuda")]

use spillway_emulated_driver::EmulatedDriver;
use spillway_kernels::cuda::selftest::small_selftest;
use spillway_kernels::cuda::{ArenaSize, CudaConfig, CudaDevice, LaunchOverlap, Products};

#[test]
fn every_kernel_passes_the_self_test_on_small_shapes() {
    let Some(_driver) = EmulatedDriver::load().expect("the stand-in can be built and loaded") else { return };
    let config = CudaConfig {
        ordinal: 0,
        arena: ArenaSize::Bytes(256 << 20),
        products: Products::Fastest,
        overlap: LaunchOverlap::Overlapped,
        records_steps: false,
    };
    let device = CudaDevice::new(config).expect("the emulated device opens");
    let report = small_selftest(&device, 1, |check| println!("{check}")).expect("every launch is taken");
    let failed: Vec<String> =
        report.checks.iter().filter(|check| !check.is_ok()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for kernel in ["linear_tile_bf16", "linear, quantised", "paged_prefill", "paged_decode", "block_copy"] {
        assert!(report.checks.iter().any(|check| check.name.starts_with(kernel)), "{kernel} was not tried");
    }
}
