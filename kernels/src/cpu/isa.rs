//! Which instruction set to use: what the user asks for, what the processor has, and the one place
//! where code compiled for it is entered.

use std::fmt;

use crate::error::KernelError;

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};

/// A family of instruction sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ, VL and VNNI; BF16 where there is.
    Avx512,
    /// AVX2, FMA and F16C; AVX-VNNI where there is.
    Avx2,
    /// What every target of the compiler has.
    Portable,
}

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsaChoice {
    /// The best that the processor has.
    #[default]
    Auto,
    /// This one, or an error.
    Exactly(Isa),
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

impl Isa {
    /// The features it needs, for messages.
    fn needs(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512f, avx512bw, avx512dq, avx512vl, avx512vnni",
            Self::Avx2 => "avx2, fma, f16c",
            Self::Portable => "nothing",
        }
    }
}

/// An instruction that only some members of a family have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// No use for any.
    None,
    /// Dot products of bytes.
    Bytes,
    /// Dot products of pairs of bf16.
    Pairs,
}

/// Work that is compiled for every instruction set.
///
/// `run` and all it calls must be `#[inline(always)]`, so that they become part of a function that has
/// the instruction set's features.
pub(super) trait Task {
    /// The instruction beyond the family's own that the work gains from. Work is not compiled for
    /// extensions that it has no use for.
    const EXTENSION: Extension = Extension::None;

    /// Does the work with vectors of `S`.
    fn run<S: Simd>(self, simd: S);
}

/// An instruction set that this processor was seen to have.
#[derive(Debug, Clone, Copy)]
pub(super) enum ActiveIsa {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512<true>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<false>),
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni(Avx2<true>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2<false>),
    Portable(Portable),
}

impl ActiveIsa {
    /// What `choice` means on this processor.
    pub(super) fn choose(choice: IsaChoice) -> Result<Self, KernelError> {
        match choice {
            IsaChoice::Auto => {
                Ok(Self::detect_avx512().or_else(Self::detect_avx2).unwrap_or(Self::Portable(Portable)))
            }
            IsaChoice::Exactly(isa) => {
                let found = match isa {
                    Isa::Avx512 => Self::detect_avx512(),
                    Isa::Avx2 => Self::detect_avx2(),
                    Isa::Portable => Some(Self::Portable(Portable)),
                };
                found.ok_or(KernelError::IsaMissing { isa, needs: isa.needs() })
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn detect_avx512() -> Option<Self> {
        Avx512::<true>::detect().map(Self::Avx512Bf16).or_else(|| Avx512::<false>::detect().map(Self::Avx512))
    }

    #[cfg(target_arch = "x86_64")]
    fn detect_avx2() -> Option<Self> {
        Avx2::<true>::detect().map(Self::Avx2Vnni).or_else(|| Avx2::<false>::detect().map(Self::Avx2))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect_avx512() -> Option<Self> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect_avx2() -> Option<Self> {
        None
    }

    /// The family it belongs to.
    pub(super) fn family(self) -> Isa {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) | Self::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni(_) | Self::Avx2(_) => Isa::Avx2,
            Self::Portable(_) => Isa::Portable,
        }
    }

    /// Every instruction set that this processor has, for tests.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let mut found = vec![Self::Portable(Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(Avx2::<false>::detect().map(Self::Avx2));
            found.extend(Avx2::<true>::detect().map(Self::Avx2Vnni));
            found.extend(Avx512::<false>::detect().map(Self::Avx512));
            found.extend(Avx512::<true>::detect().map(Self::Avx512Bf16));
        }
        found
    }

    /// Runs `task` compiled for this instruction set.
    #[inline]
    pub(super) fn run<T: Task>(self, task: T) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(simd) => {
                if const { matches!(T::EXTENSION, Extension::Pairs) } {
                    // SAFETY: the token exists only where its features were detected.
                    unsafe { run_avx512_bf16(simd, task) }
                } else {
                    // SAFETY: as above; the features are a part of the token's.
                    unsafe { run_avx512(simd.without_extension(), task) }
                }
            }
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => unsafe { run_avx512(simd, task) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni(simd) => {
                if const { matches!(T::EXTENSION, Extension::Bytes) } {
                    // SAFETY: as above.
                    unsafe { run_avx2_vnni(simd, task) }
                } else {
                    // SAFETY: as above; the features are a part of the token's.
                    unsafe { run_avx2(simd.without_extension(), task) }
                }
            }
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => unsafe { run_avx2(simd, task) },
            Self::Portable(simd) => task.run(simd),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
fn run_avx512_bf16<T: Task>(simd: Avx512<true>, task: T) {
    task.run(simd);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn run_avx512<T: Task>(simd: Avx512<false>, task: T) {
    task.run(simd);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn run_avx2_vnni<T: Task>(simd: Avx2<true>, task: T) {
    task.run(simd);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<T: Task>(simd: Avx2<false>, task: T) {
    task.run(simd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_choice_is_the_best_of_those_found() {
        let best = ActiveIsa::all().last().map(|isa| isa.family());
        let chosen = ActiveIsa::choose(IsaChoice::Auto).expect("some code always runs").family();
        assert_eq!(Some(chosen), best);
    }

    #[test]
    fn a_missing_instruction_set_is_an_error_that_says_what_to_do() {
        let error = KernelError::IsaMissing { isa: Isa::Avx512, needs: Isa::Avx512.needs() };
        assert!(error.to_string().contains("lacks avx512"));
        assert!(error.to_string().contains("choose `auto`"));
    }
}
