//! Starts kernels: a grid, an argument list, and the choice to overlap with the kernel before.

use std::ffi::c_void;

use cudarc::driver::sys;

use super::buffer::{DeviceElement, DeviceSlice, DeviceSliceMut};
use super::device::CudaDevice;
use super::error::{Context, CudaError};
use super::functions::Kernel;
use super::probe::DeviceInfo;

/// Most parameters a kernel of ours has.
const MAX_ARGUMENTS: usize = 30;

/// How many blocks of how many threads, with how much dynamic shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Blocks in x, y and z.
    pub(crate) blocks: [usize; 3],
    /// Threads of a block.
    pub(crate) threads: usize,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: usize,
}

impl Grid {
    /// A grid without dynamic shared memory.
    pub(crate) fn new(blocks: [usize; 3], threads: usize) -> Self {
        Self { blocks, threads, shared_bytes: 0 }
    }

    /// The same with dynamic shared memory.
    pub(crate) fn with_shared(self, shared_bytes: usize) -> Self {
        Self { shared_bytes, ..self }
    }

    /// Refuses what the device cannot launch, by name; the driver would call it an invalid value.
    fn check(&self, kernel: Kernel, info: &DeviceInfo) -> Result<(), CudaError> {
        const MAX_BLOCKS_IN_Y_AND_Z: usize = 65_535;
        let refused = |what, found: usize, limit: usize| CudaError::LaunchLimit {
            kernel: kernel.name(),
            what,
            found,
            limit,
        };
        let [_, y, z] = self.blocks;
        if y.max(z) > MAX_BLOCKS_IN_Y_AND_Z {
            return Err(refused("rows of its grid", y.max(z), MAX_BLOCKS_IN_Y_AND_Z));
        }
        if self.shared_bytes > info.max_shared_bytes {
            return Err(refused("bytes of shared memory", self.shared_bytes, info.max_shared_bytes));
        }
        Ok(())
    }
}

/// A kernel's parameters in order. Each lies in its own eight bytes, of which the driver reads as
/// many as the parameter has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments {
    values: [u64; MAX_ARGUMENTS],
    len: usize,
}

impl Arguments {
    pub(crate) fn new() -> Self {
        Self { values: [0; MAX_ARGUMENTS], len: 0 }
    }

    /// A pointer the kernel reads through.
    pub(crate) fn input<T: DeviceElement>(self, slice: DeviceSlice<'_, T>) -> Self {
        self.value(slice.pointer())
    }

    /// A pointer the kernel may be given or not.
    pub(crate) fn optional_input<T: DeviceElement>(self, slice: Option<DeviceSlice<'_, T>>) -> Self {
        self.value(slice.map_or(0, DeviceSlice::pointer))
    }

    /// A pointer the kernel writes through.
    pub(crate) fn output<T: DeviceElement>(self, slice: &DeviceSliceMut<'_, T>) -> Self {
        self.value(slice.pointer())
    }

    /// A count or an index, passed as `int` or `unsigned`; the wrapper has checked its range.
    pub(crate) fn size(self, value: usize) -> Self {
        debug_assert!(i32::try_from(value).is_ok(), "{value} does not fit a kernel's int");
        self.value(value as u64)
    }

    /// A 64-bit value.
    pub(crate) fn wide(self, value: u64) -> Self {
        self.value(value)
    }

    /// A float.
    pub(crate) fn float(self, value: f32) -> Self {
        self.value(u64::from(value.to_bits()))
    }

    fn value(mut self, value: u64) -> Self {
        assert!(self.len < MAX_ARGUMENTS, "a kernel has more than {MAX_ARGUMENTS} parameters");
        self.values[self.len] = value;
        self.len += 1;
        self
    }
}

impl CudaDevice {
    /// Enqueues `kernel` and returns at once. Grids of no blocks are left out.
    ///
    /// # Safety
    ///
    /// `arguments` are the kernel's parameters in number, order and type; every pointer among them
    /// is valid for what the kernel reads and writes with this grid, and no output overlaps an
    /// input unless the kernel allows it.
    pub(crate) unsafe fn launch(
        &self,
        kernel: Kernel,
        grid: Grid,
        mut arguments: Arguments,
    ) -> Result<(), CudaError> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        grid.check(kernel, self.info())?;
        self.bind()?;
        let mut pointers = [std::ptr::null_mut::<c_void>(); MAX_ARGUMENTS];
        for (pointer, value) in pointers.iter_mut().zip(&mut arguments.values[..arguments.len]) {
            *pointer = (&raw mut *value).cast();
        }
        let overlapped = self.note_kernel();
        let mut attribute = sys::CUlaunchAttribute_st {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue_union { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig_st {
            gridDimX: grid.blocks[0] as u32,
            gridDimY: grid.blocks[1] as u32,
            gridDimZ: grid.blocks[2] as u32,
            blockDimX: grid.threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes as u32,
            hStream: self.raw_stream(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(overlapped),
        };
        // SAFETY: `config`, its attribute and the argument values live until the call returns, by
        // when the driver has copied them; the function belongs to the bound context; the rest is
        // the caller's promise.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                self.functions().get(kernel),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
        .context(kernel.name())
    }
}
