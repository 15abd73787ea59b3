//! The CUDA code of the host on the stand-in for NVIDIA's driver: opening, copying, recording, failing.
//!
//! No GPU and no CUDA library are needed; where there is no C++ compiler the tests say so and pass. A test
//! that needs another device than the usual one runs again in a child process, whose device is set up so.

#![cfg(feature = "cuda")]

use std::process::Output;

use cudarc::driver::{result, sys};
use spillway_emulated_driver::{EmulatedDriver, Setting};
use spillway_kernels::cuda::{
    ArenaSize, CudaConfig, CudaDevice, CudaError, DeviceBuffer, LaunchOverlap, Products, Readbacks,
    StepGraph, StepUpload, ops, probe,
};

/// Set for a child, so that it does the test's work.
const CHILD: &str = "SPILLWAY_EMULATED_DRIVER_CHILD";

/// What the stand-in ends the process with when a kernel leaves its memory.
const FAULT_STATUS: i32 = 70;

const ARENA_BYTES: usize = 64 << 20;

fn load() -> Option<EmulatedDriver> {
    EmulatedDriver::load().expect("the stand-in can be built and loaded")
}

fn open() -> CudaDevice {
    open_with(ArenaSize::Bytes(ARENA_BYTES)).expect("the emulated device opens")
}

fn open_with(arena: ArenaSize) -> Result<CudaDevice, CudaError> {
    let (products, overlap) = (Products::BatchInvariant, LaunchOverlap::Overlapped);
    CudaDevice::new(CudaConfig { ordinal: 0, arena, products, overlap, records_steps: false })
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this file again, in a process that finds the driver by itself, on a device set up so.
fn run_in_child(driver: &EmulatedDriver, test: &str, settings: &[Setting]) -> Output {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut command = driver.command(program, settings);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    command.output().expect("a test's program can be started")
}

fn expect_child_passes(test: &str, settings: &[Setting]) {
    let Some(driver) = load() else { return };
    let output = run_in_child(&driver, test, settings);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The driver's own answer in an error.
fn driver_result(error: &CudaError) -> Option<sys::CUresult> {
    match error {
        CudaError::Driver { source, .. } => Some(source.0),
        _ => None,
    }
}

#[test]
fn the_loaded_library_is_the_driver_that_is_found() {
    if load().is_none() {
        return;
    }
    let found = probe().expect("the stand-in answers");
    let device = &found.devices[0];
    assert_eq!(device.name, "Spillway emulator");
    assert_eq!(device.compute_capability.to_string(), "9.0");
    assert_eq!((found.driver.to_string(), found.devices.len()), ("13.0".to_owned(), 1));
    assert_eq!((device.total_bytes, device.num_multiprocessors), (8 << 30, 4));
}

#[test]
fn a_child_process_finds_the_driver_and_its_settings() {
    let (name, memory_bytes) = ("a_child_process_finds_the_driver_and_its_settings", 3 << 30);
    if !is_child() {
        return expect_child_passes(
            name,
            &[Setting::MemoryBytes(memory_bytes), Setting::DriverVersion(13010)],
        );
    }
    let found = probe().expect("the stand-in answers");
    assert_eq!(found.devices[0].total_bytes as u64, memory_bytes);
    assert_eq!(found.driver.to_string(), "13.1");
}

#[test]
fn a_machine_without_a_usable_device_says_why() {
    let name = "a_machine_without_a_usable_device_says_why";
    if !is_child() {
        expect_child_passes(name, &[Setting::NumDevices(0)]);
        expect_child_passes(name, &[Setting::DriverVersion(12080)]);
        return expect_child_passes(name, &[Setting::ComputeCapability(75)]);
    }
    let error = open_with(ArenaSize::Bytes(ARENA_BYTES)).expect_err("the device is unusable");
    let expected = [
        "the NVIDIA driver shows no device; look at nvidia-smi and at CUDA_VISIBLE_DEVICES",
        "the NVIDIA driver supports CUDA 12.8, at least 13.0 is needed; install driver 580 or newer",
        "device `Spillway emulator` has compute capability 7.5, at least 8.0 is needed",
    ];
    assert!(expected.contains(&error.to_string().as_str()), "{error}");
}

#[test]
fn a_buffer_that_nobody_wrote_is_poisoned_and_copies_go_both_ways() {
    if load().is_none() {
        return;
    }
    let device = open();
    let fresh: DeviceBuffer<u32> = device.alloc("a test", 1000).expect("room");
    let found = device.download_vec(fresh.as_slice()).expect("a copy");
    assert_eq!(found, vec![u32::MAX; 1000]);
    let numbers: Vec<u32> = (0..1000).collect();
    let up = device.upload_new("a test", &numbers).expect("a copy");
    let mut copy = device.alloc_zeros("a test", 1000).expect("room");
    device.copy(up.as_slice(), &mut copy.as_mut_slice()).expect("a copy");
    assert_eq!(device.download_vec(copy.as_slice()).expect("a copy"), numbers);
}

#[test]
fn an_arena_beyond_the_device_says_what_fits() {
    if load().is_none() {
        return;
    }
    let error = open_with(ArenaSize::Bytes(1 << 40)).expect_err("a TiB does not fit in 8 GiB");
    let CudaError::OutOfDeviceMemory { total_bytes, free_bytes, fitting_bytes, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(total_bytes, 8 << 30);
    assert!(fitting_bytes < free_bytes && fitting_bytes > 0, "{fitting_bytes} of {free_bytes}");
    assert!(open_with(ArenaSize::Bytes(fitting_bytes / 4)).is_ok(), "a part of what fits, fits");
}

#[test]
fn an_address_of_the_wrong_side_or_beyond_the_end_is_refused() {
    if load().is_none() {
        return;
    }
    let device = open();
    let (free, total) = result::mem_get_info().expect("a context is bound");
    assert!(free <= total - ARENA_BYTES);
    let here = [7_u8; 64];
    // SAFETY: a context is bound; the memory is freed below.
    let there = unsafe { result::malloc_sync(64) }.expect("64 bytes");
    // SAFETY: the stand-in's device memory is the host's too, and lives until it is freed below.
    let there_as_host = unsafe { std::slice::from_raw_parts(there as *const u8, 64) };
    // SAFETY: the stand-in checks both ranges before it touches them; these it refuses, and the last
    // is right on both sides.
    let results = unsafe {
        [
            result::memcpy_htod_sync(here.as_ptr() as u64, &here),
            result::memcpy_htod_sync(there, there_as_host),
            result::memset_d8_sync(there, 0, 65),
            result::memset_d8_sync(there + 1, 0, 64),
            result::memset_d8_sync(there, 0, 64),
        ]
    };
    let invalid = Err(result::DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE));
    assert_eq!(results, [invalid, invalid, invalid, invalid, Ok(())]);
    // SAFETY: allocated above, and not used after.
    unsafe { result::free_sync(there) }.expect("it is there");
    // SAFETY: the stand-in knows that nothing is there any more.
    assert_eq!(unsafe { result::free_sync(there) }, invalid);
    drop(device);
}

/// Inputs and output of a small product.
struct Product {
    x: DeviceBuffer<half::bf16>,
    w: DeviceBuffer<half::bf16>,
    out: DeviceBuffer<f32>,
}

const PRODUCT_DIMS: [usize; 3] = [5, 48, 128];

impl Product {
    fn new(device: &CudaDevice) -> Self {
        let [m, n, k] = PRODUCT_DIMS;
        let mut x = device.alloc("a test", m * k).expect("room");
        let mut w = device.alloc("a test", n * k).expect("room");
        ops::fill::random_bf16(device, &mut x.as_mut_slice(), 1, 1.0).expect("a launch");
        ops::fill::random_bf16(device, &mut w.as_mut_slice(), 2, 1.0).expect("a launch");
        Self { x, w, out: device.alloc_zeros("a test", m * n).expect("room") }
    }

    /// Adds the product to the output.
    fn enqueue(&mut self, device: &CudaDevice) -> Result<(), CudaError> {
        let [m, n, k] = PRODUCT_DIMS;
        let (x, w) = (self.x.as_slice(), self.w.as_slice());
        let product = ops::linear::Product { x, w, bias: None, m, n, k };
        ops::linear::product(device, &product, ops::linear::ProductOutput::AddTo(self.out.as_mut_slice()))
    }

    fn bits(&self, device: &CudaDevice) -> Vec<u32> {
        let out = device.download_vec(self.out.as_slice()).expect("a copy");
        out.into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn a_recorded_step_runs_when_launched_and_gives_the_bits_of_direct_launches() {
    if load().is_none() {
        return;
    }
    let device = open();
    let mut product = Product::new(&device);
    let before = product.bits(&device);
    let recorded = StepGraph::record(&device, 5, || product.enqueue(&device)).expect("a recording");
    assert_eq!(product.bits(&device), before, "recording runs nothing");
    for round in 0..3 {
        device.fill_bytes(&mut product.out.as_mut_slice(), 0).expect("a fill");
        ops::fill::random_bf16(&device, &mut product.x.as_mut_slice(), 10 + round, 1.0).expect("a launch");
        product.enqueue(&device).expect("a launch");
        let direct = product.bits(&device);
        device.fill_bytes(&mut product.out.as_mut_slice(), 0).expect("a fill");
        recorded.launch().expect("a launch");
        assert_eq!(product.bits(&device), direct, "round {round}");
        assert_ne!(direct, before, "the product is not zero");
    }
}

#[test]
fn a_wait_or_an_allocation_while_recording_breaks_the_recording_and_nothing_else() {
    if load().is_none() {
        return;
    }
    let device = open();
    let mut product = Product::new(&device);
    let refused = sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    let error = StepGraph::record(&device, 5, || device.synchronize()).expect_err("a wait");
    assert_eq!(driver_result(&error), Some(refused));
    let error = StepGraph::record(&device, 5, || StepUpload::new(&device, 64).map(drop));
    assert_eq!(driver_result(&error.expect_err("pinned memory")), Some(refused));
    // What breaks a recording may be hidden by the step; its end tells.
    let invalidated = sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    let breakers: [&dyn Fn() -> bool; 2] =
        [&|| device.synchronize().is_err(), &|| StepUpload::new(&device, 64).is_err()];
    for breaks in breakers {
        let error = StepGraph::record(&device, 5, || {
            assert!(breaks());
            Ok::<(), CudaError>(())
        });
        assert_eq!(driver_result(&error.expect_err("a broken recording")), Some(invalidated));
    }
    StepGraph::record(&device, 5, || product.enqueue(&device)).expect("the stream can record again");
}

#[test]
fn steps_go_up_and_results_come_down_in_order() {
    if load().is_none() {
        return;
    }
    let device = open();
    let mut upload = StepUpload::new(&device, 1024).expect("pinned memory");
    let readbacks = Readbacks::new(&device, 2, 64).expect("pinned memory");
    let mut results = Vec::new();
    for step in 0..5_u32 {
        upload.begin().expect("a wait");
        upload.push(&[u8::MAX; 3]).expect("room");
        let part = upload.push(&[step; 16]).expect("room");
        upload.commit().expect("a copy");
        let bytes = upload.part::<u32>(part).cast::<u8>().expect("whole bytes");
        results.push(readbacks.push(bytes).expect("a copy"));
        if step == 3 {
            // Their places are used again.
            results.drain(..2);
        }
    }
    let steps: Vec<u8> = results.iter().map(|result| result.wait().expect("a wait")[60]).collect();
    assert_eq!(steps, [2, 3, 4]);
}

#[test]
fn a_kernel_that_faults_is_an_error_of_its_launch_and_of_every_call_after() {
    let name = "a_kernel_that_faults_is_an_error_of_its_launch_and_of_every_call_after";
    if !is_child() {
        return expect_child_passes(name, &[Setting::FailLaunch(4)]);
    }
    let device = open();
    // Two launches fill the inputs, and the third is right.
    let mut product = Product::new(&device);
    let recorded = StepGraph::record(&device, 5, || product.enqueue(&device)).expect("a recording");
    recorded.launch().expect("the third launch");
    let illegal = Some(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    let error = recorded.launch().expect_err("the fourth launch");
    assert_eq!(driver_result(&error), illegal);
    for error in [product.enqueue(&device), device.synchronize()] {
        assert_eq!(driver_result(&error.expect_err("the context is lost")), illegal);
    }
    let error = device.download_vec(product.out.as_slice()).expect_err("the context is lost");
    assert_eq!(driver_result(&error), illegal);
}

#[test]
fn a_kernel_that_leaves_its_buffer_ends_the_process_and_says_which() {
    let name = "a_kernel_that_leaves_its_buffer_ends_the_process_and_says_which";
    if !is_child() {
        let Some(driver) = load() else { return };
        let output = run_in_child(&driver, name, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(FAULT_STATUS), "{said}");
        assert!(said.contains("access outside every buffer: gather_rows"), "{said}");
        return;
    }
    // The whole arena, so that what lies behind the rows is not another buffer.
    let device = open();
    let rows: DeviceBuffer<u8> = device.alloc("a test", ARENA_BYTES - 1024).expect("room");
    let beyond = device.upload_new("a test", &[u32::MAX / 64]).expect("a copy");
    let mut out: DeviceBuffer<u8> = device.alloc("a test", 64).expect("room");
    let (rows, beyond) = (rows.as_slice(), beyond.as_slice());
    drop(ops::rows::gather_rows(&device, rows, beyond, &mut out.as_mut_slice(), 64));
    unreachable!("the stand-in goes on after a kernel's fault");
}
