//! Builds and loads the stand-in for NVIDIA's driver, so that tests run CUDA code on a machine without a GPU.
//!
//! The stand-in is C++ (`kernels/cuda/emu/driver*.cpp`): a `libcuda.so.1` that runs every launch under the
//! emulator. It is compiled by the system's C++ compiler when a test first asks for it, and again when a
//! source changed. A test loads it into its own process with [`EmulatedDriver::load`], or starts another
//! program on it with [`EmulatedDriver::command`].
//!
//! Only tests use this crate: nothing that is shipped depends on it.

mod compiler;
mod driver;
mod error;
mod kernel_list;

pub use compiler::{CompileJob, Compiler};
pub use driver::{EmulatedDriver, Setting};
pub use error::EmulatorError;
