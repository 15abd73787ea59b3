//! `libnvrtc`: compiles at run time. Linked because candle's bindings name it; nothing here calls it.

use std::arch::naked_asm;

use super::{Entry, Library, call};

/// The compiler.
static NVRTC: Library = Library::new(&[c"libnvrtc.so.13", c"libnvrtc.so.12", c"libnvrtc.so"], internal_error);

/// `NVRTC_ERROR_INTERNAL_ERROR`, by the header: there is no code for its absence.
extern "C" fn internal_error() -> i32 {
    11
}

functions! { NVRTC:
    nvrtcAddNameExpression nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram nvrtcGetCUBIN
    nvrtcGetCUBINSize nvrtcGetLTOIR nvrtcGetLTOIRSize nvrtcGetLoweredName nvrtcGetNumSupportedArchs nvrtcGetOptiXIR
    nvrtcGetOptiXIRSize nvrtcGetPTX nvrtcGetPTXSize nvrtcGetProgramLog nvrtcGetProgramLogSize nvrtcGetSupportedArchs
    nvrtcVersion
}

functions! { NVRTC, of text: nvrtcGetErrorString }
