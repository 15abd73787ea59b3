//! `libcurand`: random numbers, of which candle makes a generator when it opens a device.

use std::arch::naked_asm;

use super::{Entry, Library, call};

/// Random numbers.
pub(in crate::cuda) static CURAND: Library =
    Library::new(&[c"libcurand.so.10", c"libcurand.so"], not_initialized);

/// `CURAND_STATUS_NOT_INITIALIZED`, by the header.
extern "C" fn not_initialized() -> i32 {
    101
}

functions! { CURAND:
    curandCreateGenerator curandCreateGeneratorHost curandCreatePoissonDistribution curandDestroyDistribution
    curandDestroyGenerator curandGenerate curandGenerateLogNormal curandGenerateLogNormalDouble
    curandGenerateLongLong curandGenerateNormal curandGenerateNormalDouble curandGeneratePoisson
    curandGeneratePoissonMethod curandGenerateSeeds curandGenerateUniform curandGenerateUniformDouble
    curandGetDirectionVectors32 curandGetDirectionVectors64 curandGetProperty curandGetScrambleConstants32
    curandGetScrambleConstants64 curandGetVersion curandSetGeneratorOffset curandSetGeneratorOrdering
    curandSetPseudoRandomGeneratorSeed curandSetQuasiRandomGeneratorDimensions curandSetStream
}
