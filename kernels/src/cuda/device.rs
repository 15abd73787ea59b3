//! One CUDA device: its context, its only stream, its kernels and its arena.
//!
//! All work goes to one stream, so it happens in the order it was asked for, and buffers need no
//! events. Copies between host and device here are for start-up and tests; a step uses
//! [`super::staging`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::{CudaContext, CudaStream, result, sys};

use super::arena::{Arena, ArenaSize, ArenaUsage};
use super::blaslt::BlasLt;
use super::buffer::{DeviceBuffer, DeviceElement, DeviceSlice, DeviceSliceMut};
use super::error::{Context, CudaError, expect_equal};
use super::functions::{Functions, KernelResources};
use super::probe::{DeviceInfo, DriverVersion, FIRST_WITH_OVERLAP, MIN_COMPUTE_CAPABILITY, probe};

/// How large products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Products {
    /// By cuBLASLt where it is installed, else by own kernels.
    #[default]
    Fastest,
    /// Always by own kernels, whose result for a row does not depend on the other rows.
    BatchInvariant,
}

/// Whether a kernel may begin while the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaunchOverlap {
    /// Kernels that are written for it begin early (programmatic dependent launch).
    #[default]
    Overlapped,
    /// Every kernel waits for the one before it.
    Plain,
}

/// What a device is opened with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CudaConfig {
    /// Which device.
    pub ordinal: usize,
    /// How much of its memory to take at start.
    pub arena: ArenaSize,
    /// How large products are computed.
    pub products: Products,
    /// Whether kernels may overlap.
    pub overlap: LaunchOverlap,
    /// Whether steps of decodes alone are recorded as CUDA graphs and replayed.
    pub records_steps: bool,
}

/// An opened device. Cheap to clone; every clone is the same device, stream and arena.
#[derive(Debug, Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Dropped in this order: what lives in the context before the context.
    blas: Option<BlasLt>,
    arena: Arena,
    functions: Functions,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    info: DeviceInfo,
    driver: DriverVersion,
    config: CudaConfig,
    /// Whether the last work on the stream was a kernel that a next one may overlap with.
    may_overlap_last: AtomicBool,
}

impl CudaDevice {
    /// Probes the machine, opens the device, loads every kernel and takes the arena.
    ///
    /// # Errors
    ///
    /// Those of [`probe()`]; [`CudaError::NoSuchDevice`], [`CudaError::DeviceTooOld`],
    /// [`CudaError::KernelMissing`], [`CudaError::OutOfDeviceMemory`].
    pub fn new(config: CudaConfig) -> Result<Self, CudaError> {
        let found = probe()?;
        let num_devices = found.devices.len();
        let ordinal = config.ordinal;
        let Some(info) = found.devices.into_iter().nth(ordinal) else {
            return Err(CudaError::NoSuchDevice { ordinal, num_devices });
        };
        if info.compute_capability < MIN_COMPUTE_CAPABILITY {
            return Err(CudaError::DeviceTooOld {
                name: info.name,
                found: info.compute_capability,
                needed: MIN_COMPUTE_CAPABILITY,
            });
        }
        let context = CudaContext::new(ordinal).context("opening the device")?;
        // SAFETY: with events off, nothing orders work on different streams; there is one stream.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().context("cuStreamCreate")?;
        let functions = Functions::load(&context, info.compute_capability)?;
        let arena = Arena::new(&stream, config.arena)?;
        let blas = match config.products {
            Products::Fastest => BlasLt::open(&stream, &arena)?,
            Products::BatchInvariant => None,
        };
        let driver = found.driver;
        let may_overlap_last = AtomicBool::new(false);
        let inner = Inner { blas, arena, functions, stream, context, info, driver, config, may_overlap_last };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the driver says of the device.
    pub fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    /// The CUDA version the driver supports.
    pub fn driver(&self) -> DriverVersion {
        self.inner.driver
    }

    /// What it was opened with.
    pub fn config(&self) -> &CudaConfig {
        &self.inner.config
    }

    /// Whether large products go to cuBLASLt.
    pub fn has_blas(&self) -> bool {
        self.inner.blas.is_some()
    }

    /// What each kernel takes of a multiprocessor, as the driver loaded it.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn kernel_resources(&self) -> Result<Vec<KernelResources>, CudaError> {
        self.inner.functions.resources()
    }

    /// How full the arena is.
    pub fn arena_usage(&self) -> ArenaUsage {
        self.inner.arena.usage()
    }

    /// Cuts a buffer from the arena; its content is whatever was there.
    ///
    /// # Errors
    ///
    /// [`CudaError::ArenaFull`] naming `what`.
    pub fn alloc<T: DeviceElement>(&self, what: &str, len: usize) -> Result<DeviceBuffer<T>, CudaError> {
        self.inner.arena.alloc(what, len)
    }

    /// Cuts a buffer from the arena and sets it to zero.
    ///
    /// # Errors
    ///
    /// As [`Self::alloc`].
    pub fn alloc_zeros<T: DeviceElement>(
        &self,
        what: &str,
        len: usize,
    ) -> Result<DeviceBuffer<T>, CudaError> {
        let mut buffer = self.alloc(what, len)?;
        self.fill_bytes(&mut buffer.as_mut_slice(), 0)?;
        Ok(buffer)
    }

    /// Cuts a buffer and copies `host` into it.
    ///
    /// # Errors
    ///
    /// As [`Self::alloc`].
    pub fn upload_new<T: DeviceElement>(&self, what: &str, host: &[T]) -> Result<DeviceBuffer<T>, CudaError> {
        let mut buffer = self.alloc(what, host.len())?;
        self.upload(host, &mut buffer.as_mut_slice())?;
        Ok(buffer)
    }

    /// Copies from the host. `host` may be changed as soon as this returns.
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] if the lengths differ.
    pub fn upload<T: DeviceElement>(
        &self,
        host: &[T],
        device: &mut DeviceSliceMut<'_, T>,
    ) -> Result<(), CudaError> {
        expect_equal("upload", "elements on the device", device.len(), host.len())?;
        if host.is_empty() {
            return Ok(());
        }
        self.begin_plain_work()?;
        let stream = self.inner.stream.cu_stream();
        // SAFETY: both ranges hold `host.len()` elements. The driver has read a pageable source
        // when this returns; a pinned one is held until the stream is done, below.
        unsafe { result::memcpy_htod_async(device.pointer(), host, stream) }
            .context("copying to the device")?;
        self.synchronize()
    }

    /// Copies to the host, and waits.
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] if the lengths differ.
    pub fn download<T: DeviceElement>(
        &self,
        device: DeviceSlice<'_, T>,
        host: &mut [T],
    ) -> Result<(), CudaError> {
        expect_equal("download", "elements on the host", host.len(), device.len())?;
        if host.is_empty() {
            return Ok(());
        }
        self.begin_plain_work()?;
        let stream = self.inner.stream.cu_stream();
        // SAFETY: both ranges hold `host.len()` elements, every bit pattern is a value of `T`, and
        // the copy is finished before `host`'s borrow ends, below.
        unsafe { result::memcpy_dtoh_async(host, device.pointer(), stream) }
            .context("copying to the host")?;
        self.synchronize()
    }

    /// Copies to a new vector, and waits.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`] if an earlier kernel failed.
    pub fn download_vec<T: DeviceElement + Default>(
        &self,
        device: DeviceSlice<'_, T>,
    ) -> Result<Vec<T>, CudaError> {
        let mut host = vec![T::default(); device.len()];
        self.download(device, &mut host)?;
        Ok(host)
    }

    /// Copies from one place on the device to another, in stream order.
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] if the lengths differ.
    pub fn copy<T: DeviceElement>(
        &self,
        from: DeviceSlice<'_, T>,
        to: &mut DeviceSliceMut<'_, T>,
    ) -> Result<(), CudaError> {
        expect_equal("copy", "elements of the target", to.len(), from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        self.begin_plain_work()?;
        let bytes = from.len() * size_of::<T>();
        let stream = self.inner.stream.cu_stream();
        // SAFETY: both ranges hold `bytes`; `to` is borrowed mutably, so they do not overlap.
        unsafe { result::memcpy_dtod_async(to.pointer(), from.pointer(), bytes, stream) }
            .context("copying on the device")
    }

    /// Sets every byte, in stream order.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn fill_bytes<T: DeviceElement>(
        &self,
        device: &mut DeviceSliceMut<'_, T>,
        byte: u8,
    ) -> Result<(), CudaError> {
        if device.is_empty() {
            return Ok(());
        }
        self.begin_plain_work()?;
        let bytes = device.len() * size_of::<T>();
        // SAFETY: the range holds `bytes`, and every bit pattern is a value of `T`.
        unsafe { result::memset_d8_async(device.pointer(), byte, bytes, self.inner.stream.cu_stream()) }
            .context("filling device memory")
    }

    /// Waits until all work asked for is done.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`] if any of it failed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.inner.stream.synchronize().context("waiting for the device")
    }

    /// Makes this thread use the device's context.
    pub(crate) fn bind(&self) -> Result<(), CudaError> {
        self.inner.context.bind_to_thread().context("cuCtxSetCurrent")
    }

    /// As [`Self::bind`], for work that the next kernel must wait for: copies, and kernels that write
    /// what a later kernel reads before it waits (weights).
    pub(crate) fn begin_plain_work(&self) -> Result<(), CudaError> {
        self.inner.may_overlap_last.store(false, Ordering::Relaxed);
        self.bind()
    }

    /// Notes that a step's kernel is launched, and says whether it may overlap with the work before.
    pub(crate) fn note_kernel(&self) -> bool {
        let overlaps = self.inner.may_overlap_last.swap(true, Ordering::Relaxed);
        let can_overlap = self.inner.info.compute_capability >= FIRST_WITH_OVERLAP;
        overlaps && can_overlap && self.inner.config.overlap == LaunchOverlap::Overlapped
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.inner.context
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.inner.stream
    }

    pub(crate) fn raw_stream(&self) -> sys::CUstream {
        self.inner.stream.cu_stream()
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.inner.functions
    }

    pub(crate) fn blas(&self) -> Option<&BlasLt> {
        self.inner.blas.as_ref()
    }
}
