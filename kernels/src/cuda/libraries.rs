//! Which of CUDA's libraries are installed, asked before the first call into one.
//!
//! There are two ways to them. The bindings load them, and abort the process when one is called that is not there. In a
//! build with candle's CUDA code they are linked, and `super::linked` stands in for the libraries.

#[cfg(not(feature = "candle-cuda"))]
mod asked {
    use cudarc::{cublaslt, driver};

    /// Whether there is a driver.
    pub(in crate::cuda) fn has_driver() -> bool {
        // SAFETY: opens and closes the driver's library. Its initialisers run, as they would in any
        // program that uses the driver, and need nothing from us.
        unsafe { driver::sys::is_culib_present() }
    }

    /// Whether there is cuBLASLt.
    pub(in crate::cuda) fn has_cublaslt() -> bool {
        // SAFETY: opens and closes the library, whose initialisers need nothing from us.
        unsafe { cublaslt::sys::is_culib_present() }
    }
}

#[cfg(feature = "candle-cuda")]
mod asked {
    use crate::cuda::linked::{CUBLAS, CUBLASLT, CURAND, DRIVER};

    /// Whether there is a driver.
    pub(in crate::cuda) fn has_driver() -> bool {
        DRIVER.is_present()
    }

    /// Whether there is cuBLASLt.
    pub(in crate::cuda) fn has_cublaslt() -> bool {
        CUBLASLT.is_present()
    }

    /// The libraries besides the driver that candle's CUDA code calls and that are not installed.
    pub fn missing_for_candle() -> Vec<String> {
        let needed = [&CUBLAS, &CUBLASLT, &CURAND];
        needed.iter().filter(|library| !library.is_present()).map(|library| library.file_name()).collect()
    }
}

#[cfg(feature = "candle-cuda")]
pub use asked::missing_for_candle;
pub(super) use asked::{has_cublaslt, has_driver};
