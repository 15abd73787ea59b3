//! Pinned host memory through which a step's input goes up and its result comes down.
//!
//! One copy up and one copy down for each step, neither of which makes the host wait for the step
//! before. Upward there are two pinned halves, so that the host writes step n + 1's input while step n's is
//! still being read. Downward each result has a place of its own until it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaEvent, result, sys};

use super::buffer::{DeviceBuffer, DeviceElement, DeviceSlice};
use super::device::CudaDevice;
use super::error::{Context, CudaError};

/// Where parts of a step's input begin: a multiple of this, so that kernels may load 16 bytes.
const PART_ALIGNMENT_BYTES: usize = 16;

/// Which way a pinned buffer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Written by the host only: write-combined, which reads slowly.
    Up,
    /// Read by the host.
    Down,
}

/// Page-locked host memory.
#[derive(Debug)]
struct Pinned {
    context: Arc<CudaContext>,
    bytes: *mut u8,
    capacity: usize,
}

// SAFETY: the memory is owned by this struct alone and reached through `&self`/`&mut self`.
unsafe impl Send for Pinned {}
// SAFETY: through `&self` the memory is only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    fn new(device: &CudaDevice, capacity: usize, direction: Direction) -> Result<Self, CudaError> {
        device.bind()?;
        let flags = match direction {
            Direction::Up => sys::CU_MEMHOSTALLOC_WRITECOMBINED,
            Direction::Down => 0,
        };
        // SAFETY: the context is bound; the memory is freed once, in `drop`.
        let bytes =
            unsafe { result::malloc_host(capacity.max(1), flags) }.context("cuMemHostAlloc")?.cast::<u8>();
        // SAFETY: `bytes` was allocated with this capacity just now.
        unsafe { bytes.write_bytes(0, capacity) };
        Ok(Self { context: Arc::clone(device.context()), bytes, capacity })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: `capacity` bytes, set when made; the device does not write while `self` is lent,
        // since the only writer is ordered by the event of its [`Readback`].
        unsafe { std::slice::from_raw_parts(self.bytes, self.capacity) }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.bytes, self.capacity) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.record_err(self.context.synchronize());
        // SAFETY: allocated by `malloc_host`, freed only here, and the device has just finished.
        self.context.record_err(unsafe { result::free_host(self.bytes.cast()) });
    }
}

fn disabled_timing_event(device: &CudaDevice) -> Result<CudaEvent, CudaError> {
    let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
    device.context().new_event(Some(flags)).context("cuEventCreate")
}

/// Where a part of a step's input lies, in bytes from the start of the device's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedPart {
    offset: usize,
    bytes: usize,
}

/// The input of steps: two pinned halves, and one place on the device with a fixed address.
#[derive(Debug)]
pub struct StepUpload {
    device: CudaDevice,
    halves: [(Pinned, CudaEvent); 2],
    current: usize,
    filled: usize,
    target: DeviceBuffer<u8>,
}

impl StepUpload {
    /// Allocates for steps of at most `capacity` bytes.
    ///
    /// # Errors
    ///
    /// [`CudaError::ArenaFull`], [`CudaError::Driver`].
    pub fn new(device: &CudaDevice, capacity: usize) -> Result<Self, CudaError> {
        let half = || -> Result<(Pinned, CudaEvent), CudaError> {
            Ok((Pinned::new(device, capacity, Direction::Up)?, disabled_timing_event(device)?))
        };
        Ok(Self {
            device: device.clone(),
            halves: [half()?, half()?],
            current: 0,
            filled: 0,
            target: device.alloc_zeros("the step's input", capacity)?,
        })
    }

    /// Begins a step's input. Waits only if the copy of the step before last is still running.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn begin(&mut self) -> Result<(), CudaError> {
        self.current = 1 - self.current;
        self.filled = 0;
        self.halves[self.current].1.synchronize().context("cuEventSynchronize")
    }

    /// Appends a part.
    ///
    /// # Errors
    ///
    /// [`CudaError::StagingFull`].
    pub fn push<T: DeviceElement>(&mut self, values: &[T]) -> Result<StagedPart, CudaError> {
        let bytes = size_of_val(values);
        let offset = self.filled.next_multiple_of(PART_ALIGNMENT_BYTES);
        let (pinned, _) = &mut self.halves[self.current];
        let end = offset + bytes;
        let Some(target) = pinned.as_mut_slice().get_mut(offset..end) else {
            let capacity_bytes = pinned.capacity;
            return Err(CudaError::StagingFull { wanted_bytes: end, capacity_bytes });
        };
        // SAFETY: device elements have no padding, so all their bytes are set; `bytes` is their size.
        let source = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), bytes) };
        target.copy_from_slice(source);
        self.filled = end;
        Ok(StagedPart { offset, bytes })
    }

    /// Enqueues the copy of all parts.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn commit(&mut self) -> Result<(), CudaError> {
        if self.filled == 0 {
            return Ok(());
        }
        self.device.begin_plain_work()?;
        let (pinned, copied) = &self.halves[self.current];
        let source = &pinned.as_slice()[..self.filled];
        let target = self.target.as_mut_slice();
        // SAFETY: `filled <= capacity`, which both sides hold. The source stays as it is until
        // `begin` has waited for the event recorded below.
        unsafe { result::memcpy_htod_async(target.pointer(), source, self.device.raw_stream()) }
            .context("copying a step's input")?;
        copied.record(self.device.stream()).context("cuEventRecord")
    }

    /// A part on the device; its address depends only on the sizes of the parts before it.
    ///
    /// # Panics
    ///
    /// If the part's bytes do not divide into elements of `T`.
    pub fn part<T: DeviceElement>(&self, part: StagedPart) -> DeviceSlice<'_, T> {
        let bytes = self.target.as_slice().slice(part.offset..part.offset + part.bytes);
        bytes.cast().expect("a part is read as the type it was pushed as")
    }
}

/// Results of steps on their way to the host.
///
/// Cloning is cheap and names the same places.
#[derive(Debug, Clone)]
pub struct Readbacks {
    device: CudaDevice,
    capacity: usize,
    free: Arc<Mutex<Vec<ReadbackPlace>>>,
}

#[derive(Debug)]
struct ReadbackPlace {
    pinned: Pinned,
    arrived: CudaEvent,
}

impl ReadbackPlace {
    fn new(device: &CudaDevice, capacity: usize) -> Result<Self, CudaError> {
        let pinned = Pinned::new(device, capacity, Direction::Down)?;
        Ok(Self { pinned, arrived: disabled_timing_event(device)? })
    }
}

impl Readbacks {
    /// Allocates `depth` places of `capacity` bytes: how many steps are commonly in flight.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn new(device: &CudaDevice, depth: usize, capacity: usize) -> Result<Self, CudaError> {
        let places = (0..depth).map(|_| ReadbackPlace::new(device, capacity)).collect::<Result<_, _>>()?;
        Ok(Self { device: device.clone(), capacity, free: Arc::new(Mutex::new(places)) })
    }

    /// Enqueues the copy of a result, which may be empty: then its arrival says that the work before it is done.
    ///
    /// Where more results are out than ever before, one more place is allocated.
    ///
    /// # Errors
    ///
    /// [`CudaError::StagingFull`], [`CudaError::Driver`].
    pub fn push(&self, from: DeviceSlice<'_, u8>) -> Result<Readback, CudaError> {
        if from.len() > self.capacity {
            return Err(CudaError::StagingFull { wanted_bytes: from.len(), capacity_bytes: self.capacity });
        }
        let free = lock(&self.free).pop();
        let place = free.map_or_else(|| ReadbackPlace::new(&self.device, self.capacity), Ok)?;
        self.device.begin_plain_work()?;
        let mut readback = Readback { place: Some(place), bytes: from.len(), free: Arc::clone(&self.free) };
        readback.enqueue(&self.device, from)?;
        Ok(readback)
    }
}

/// A result on its way. Its place is free for another when it is dropped.
#[derive(Debug)]
pub struct Readback {
    /// Absent only while it is dropped.
    place: Option<ReadbackPlace>,
    bytes: usize,
    free: Arc<Mutex<Vec<ReadbackPlace>>>,
}

impl Readback {
    fn enqueue(&mut self, device: &CudaDevice, from: DeviceSlice<'_, u8>) -> Result<(), CudaError> {
        let Some(place) = &mut self.place else { return Ok(()) };
        if !from.is_empty() {
            let target = &mut place.pinned.as_mut_slice()[..from.len()];
            // SAFETY: both sides hold `from.len()` bytes; the host reads them only after `wait` has waited for the event
            // recorded below, and whoever has the place next writes it later in the same stream.
            unsafe { result::memcpy_dtoh_async(target, from.pointer(), device.raw_stream()) }
                .context("copying a step's result")?;
        }
        place.arrived.record(device.stream()).context("cuEventRecord")
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`] if the step failed.
    pub fn wait(&self) -> Result<&[u8], CudaError> {
        let Some(place) = &self.place else { return Ok(&[]) };
        place.arrived.synchronize().context("cuEventSynchronize")?;
        Ok(&place.pinned.as_slice()[..self.bytes])
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        lock(&self.free).extend(self.place.take());
    }
}

/// The places, also after a thread that had them has panicked: each is whole at any time.
fn lock(places: &Mutex<Vec<ReadbackPlace>>) -> MutexGuard<'_, Vec<ReadbackPlace>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}
