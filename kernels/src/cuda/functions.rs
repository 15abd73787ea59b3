//! The kernels by name: loaded and resolved once, at start, so that a missing one is an error then.
//!
//! Names, parameters and grids are those of `kernels/cuda/ABI.md`.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, sys};
use cudarc::nvrtc::Ptx;

use super::error::{Context, CudaError};
use super::probe::ComputeCapability;

/// A compiled source file.
struct Module {
    name: &'static str,
    image: &'static [u8],
}

/// Every compiled source file, as `build.rs` wrote them.
const MODULES: &[Module] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// Modules whose name ends so hold Hopper's machine code alone.
const HOPPER_SUFFIX: &str = "_sm90a";

// A macro, so that a kernel's variant, its name and the list of all cannot disagree.
macro_rules! kernels {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A kernel by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kernel { $(
            #[doc = concat!("`", $name, "`")]
            $variant,
        )* }

        impl Kernel {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &'static [Kernel] = &[$(Kernel::$variant),*];

            /// Its name in the module.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Kernel::$variant => $name),* }
            }
        }
    };
}

kernels! {
    LinearSkinnyM8 = "linear_skinny_bf16_m8",
    LinearSkinnyM16 = "linear_skinny_bf16_m16",
    LinearSkinnyM32 = "linear_skinny_bf16_m32",
    LinearSkinnyM64 = "linear_skinny_bf16_m64",
    LinearTile = "linear_tile_bf16",
    LinearTileQ4g32 = "linear_tile_q4g32",
    LinearTileQ4g32z = "linear_tile_q4g32z",
    LinearTileQ4g128 = "linear_tile_q4g128",
    LinearTileQ4g128z = "linear_tile_q4g128z",
    LinearTileQ5g32 = "linear_tile_q5g32",
    LinearTileQ5g32z = "linear_tile_q5g32z",
    LinearTileQ6g16 = "linear_tile_q6g16",
    LinearTileQ8g32 = "linear_tile_q8g32",
    LinearTileQ8c = "linear_tile_q8c",
    LinearTileF8c = "linear_tile_f8c",
    LinearQ4g32M8R16 = "linear_skinny_q4g32_m8_r16",
    LinearQ4g32M8 = "linear_skinny_q4g32_m8",
    LinearQ4g32M16 = "linear_skinny_q4g32_m16",
    LinearQ4g32M32 = "linear_skinny_q4g32_m32",
    LinearQ4g32zM8R16 = "linear_skinny_q4g32z_m8_r16",
    LinearQ4g32zM8 = "linear_skinny_q4g32z_m8",
    LinearQ4g32zM16 = "linear_skinny_q4g32z_m16",
    LinearQ4g32zM32 = "linear_skinny_q4g32z_m32",
    LinearQ4g128M8R16 = "linear_skinny_q4g128_m8_r16",
    LinearQ4g128M8 = "linear_skinny_q4g128_m8",
    LinearQ4g128M16 = "linear_skinny_q4g128_m16",
    LinearQ4g128M32 = "linear_skinny_q4g128_m32",
    LinearQ4g128zM8R16 = "linear_skinny_q4g128z_m8_r16",
    LinearQ4g128zM8 = "linear_skinny_q4g128z_m8",
    LinearQ4g128zM16 = "linear_skinny_q4g128z_m16",
    LinearQ4g128zM32 = "linear_skinny_q4g128z_m32",
    LinearQ5g32M8R16 = "linear_skinny_q5g32_m8_r16",
    LinearQ5g32M8 = "linear_skinny_q5g32_m8",
    LinearQ5g32M16 = "linear_skinny_q5g32_m16",
    LinearQ5g32M32 = "linear_skinny_q5g32_m32",
    LinearQ5g32zM8R16 = "linear_skinny_q5g32z_m8_r16",
    LinearQ5g32zM8 = "linear_skinny_q5g32z_m8",
    LinearQ5g32zM16 = "linear_skinny_q5g32z_m16",
    LinearQ5g32zM32 = "linear_skinny_q5g32z_m32",
    LinearQ6g16M8R16 = "linear_skinny_q6g16_m8_r16",
    LinearQ6g16M8 = "linear_skinny_q6g16_m8",
    LinearQ6g16M16 = "linear_skinny_q6g16_m16",
    LinearQ6g16M32 = "linear_skinny_q6g16_m32",
    LinearQ8g32M8R16 = "linear_skinny_q8g32_m8_r16",
    LinearQ8g32M8 = "linear_skinny_q8g32_m8",
    LinearQ8g32M16 = "linear_skinny_q8g32_m16",
    LinearQ8g32M32 = "linear_skinny_q8g32_m32",
    LinearQ8cM8R16 = "linear_skinny_q8c_m8_r16",
    LinearQ8cM8 = "linear_skinny_q8c_m8",
    LinearQ8cM16 = "linear_skinny_q8c_m16",
    LinearQ8cM32 = "linear_skinny_q8c_m32",
    LinearF8cM8R16 = "linear_skinny_f8c_m8_r16",
    LinearF8cM8 = "linear_skinny_f8c_m8",
    LinearF8cM16 = "linear_skinny_f8c_m16",
    LinearF8cM32 = "linear_skinny_f8c_m32",
    DequantiseQ4g32 = "dequantise_q4g32",
    DequantiseQ4g32z = "dequantise_q4g32z",
    DequantiseQ4g128 = "dequantise_q4g128",
    DequantiseQ4g128z = "dequantise_q4g128z",
    DequantiseQ5g32 = "dequantise_q5g32",
    DequantiseQ5g32z = "dequantise_q5g32z",
    DequantiseQ6g16 = "dequantise_q6g16",
    DequantiseQ8g32 = "dequantise_q8g32",
    DequantiseQ8c = "dequantise_q8c",
    DequantiseF8c = "dequantise_f8c",
    EmbedPackedQ4g32 = "embed_packed_q4g32",
    EmbedPackedQ4g32z = "embed_packed_q4g32z",
    EmbedPackedQ4g128 = "embed_packed_q4g128",
    EmbedPackedQ4g128z = "embed_packed_q4g128z",
    EmbedPackedQ5g32 = "embed_packed_q5g32",
    EmbedPackedQ5g32z = "embed_packed_q5g32z",
    EmbedPackedQ6g16 = "embed_packed_q6g16",
    EmbedPackedQ8g32 = "embed_packed_q8g32",
    EmbedPackedQ8c = "embed_packed_q8c",
    EmbedPackedF8c = "embed_packed_f8c",
    PackQ40 = "pack_q4_0",
    PackQ41 = "pack_q4_1",
    PackQ50 = "pack_q5_0",
    PackQ51 = "pack_q5_1",
    PackQ80 = "pack_q8_0",
    PackQ4K = "pack_q4_k",
    PackQ5K = "pack_q5_k",
    PackQ6K = "pack_q6_k",
    PackQ40Group128 = "pack_q4_0_g128",
    PackQ41Group128 = "pack_q4_1_g128",
    PackQ4g128 = "pack_q4g128",
    PackQ4g128F16 = "pack_q4g128_f16",
    PackQ4g128F32 = "pack_q4g128_f32",
    PackQ8c = "pack_q8c",
    PackQ8cF16 = "pack_q8c_f16",
    PackQ8cF32 = "pack_q8c_f32",
    PackF8c = "pack_f8c",
    PackF8cF16 = "pack_f8c_f16",
    PackF8cF32 = "pack_f8c_f32",
    Embed = "embed",
    EmbedF32 = "embed_f32",
    EmbedF16 = "embed_f16",
    EmbedQ40 = "embed_q4_0",
    EmbedQ41 = "embed_q4_1",
    EmbedQ50 = "embed_q5_0",
    EmbedQ51 = "embed_q5_1",
    EmbedQ80 = "embed_q8_0",
    EmbedQ2K = "embed_q2_k",
    EmbedQ3K = "embed_q3_k",
    EmbedQ4K = "embed_q4_k",
    EmbedQ5K = "embed_q5_k",
    EmbedQ6K = "embed_q6_k",
    AddRmsNorm = "add_rms_norm",
    AddBias = "add_bias",
    GatedAct = "gated_act",
    GatherRows = "gather_rows",
    SoftCap = "soft_cap",
    BlockCopy = "block_copy",
    RopeAndCache = "rope_and_cache",
    RopeAndCacheFp8 = "rope_and_cache_fp8",
    PagedDecodeBf16D64 = "paged_decode_bf16_d64",
    PagedDecodeBf16D128 = "paged_decode_bf16_d128",
    PagedDecodeBf16D256 = "paged_decode_bf16_d256",
    PagedDecodeBf16Upto64 = "paged_decode_bf16_upto64",
    PagedDecodeBf16Upto128 = "paged_decode_bf16_upto128",
    PagedDecodeBf16Upto256 = "paged_decode_bf16_upto256",
    PagedDecodeFp8D64 = "paged_decode_fp8_d64",
    PagedDecodeFp8D128 = "paged_decode_fp8_d128",
    PagedDecodeFp8D256 = "paged_decode_fp8_d256",
    PagedDecodeFp8Upto64 = "paged_decode_fp8_upto64",
    PagedDecodeFp8Upto128 = "paged_decode_fp8_upto128",
    PagedDecodeFp8Upto256 = "paged_decode_fp8_upto256",
    PagedPrefillBf16D64 = "paged_prefill_bf16_d64",
    PagedPrefillBf16D128 = "paged_prefill_bf16_d128",
    PagedPrefillBf16D256 = "paged_prefill_bf16_d256",
    PagedPrefillBf16Upto64 = "paged_prefill_bf16_upto64",
    PagedPrefillBf16Upto128 = "paged_prefill_bf16_upto128",
    PagedPrefillBf16Upto256 = "paged_prefill_bf16_upto256",
    PagedPrefillFp8D64 = "paged_prefill_fp8_d64",
    PagedPrefillFp8D128 = "paged_prefill_fp8_d128",
    PagedPrefillFp8D256 = "paged_prefill_fp8_d256",
    PagedPrefillFp8Upto64 = "paged_prefill_fp8_upto64",
    PagedPrefillFp8Upto128 = "paged_prefill_fp8_upto128",
    PagedPrefillFp8Upto256 = "paged_prefill_fp8_upto256",
    ArgmaxPartial = "argmax_partial",
    ArgmaxFinal = "argmax_final",
    SampleAdjust = "sample_adjust",
    SampleWeigh = "sample_weigh",
    SampleFinish = "sample_finish",
    StepInputs = "step_inputs",
    StepAdvance = "step_advance",
    FillRandomBf16 = "fill_random_bf16",
    FillRandomF32 = "fill_random_f32",
    FillRandomF16 = "fill_random_f16",
    FillRandomBytes = "fill_random_bytes",
    ReadBytes = "read_bytes",
}

/// Every kernel, resolved.
#[derive(Debug)]
pub(crate) struct Functions {
    /// In the order of [`Kernel::ALL`].
    functions: Vec<CudaFunction>,
}

impl Functions {
    /// Loads every module and finds every kernel.
    pub(crate) fn load(context: &Arc<CudaContext>, capability: ComputeCapability) -> Result<Self, CudaError> {
        let is_hopper = capability == ComputeCapability { major: 9, minor: 0 };
        let mut modules = Vec::with_capacity(MODULES.len());
        for Module { name, image } in MODULES {
            if is_hopper || !name.ends_with(HOPPER_SUFFIX) {
                let module = context.load_module(Ptx::from_binary(image.to_vec()));
                modules.push(module.map_err(|source| CudaError::ModuleRefused { module: name, source })?);
            }
        }
        let shared_limit = context
            .attribute(sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
            .context("cuDeviceGetAttribute")?;
        let functions = Kernel::ALL
            .iter()
            .map(|kernel| resolve(&modules, *kernel, shared_limit))
            .collect::<Result<Vec<CudaFunction>, CudaError>>()?;
        Ok(Self { functions })
    }

    /// A kernel's handle.
    pub(crate) fn get(&self, kernel: Kernel) -> sys::CUfunction {
        self.functions[kernel as usize].cu_function()
    }

    /// Registers and local memory of every kernel, as the driver sees them.
    pub(crate) fn resources(&self) -> Result<Vec<KernelResources>, CudaError> {
        let describe = |(kernel, function): (&Kernel, &CudaFunction)| {
            Ok(KernelResources {
                name: kernel.name(),
                num_registers: function.num_regs().context("cuFuncGetAttribute")?,
                local_bytes: function.local_size_bytes().context("cuFuncGetAttribute")?,
            })
        };
        Kernel::ALL.iter().zip(&self.functions).map(describe).collect()
    }
}

/// What one kernel takes of a multiprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelResources {
    /// The kernel's name.
    pub name: &'static str,
    /// Registers of a thread.
    pub num_registers: i32,
    /// Local memory of a thread: spills and arrays with run-time indices.
    pub local_bytes: i32,
}

/// The part of a multiprocessor's fast memory that is shared memory and not L1. All kernels ask for the same: to change it a
/// multiprocessor has to come to rest, and small kernels stand between large ones.
const ALL_SHARED_PERCENT: i32 = 100;

/// Finds a kernel in whichever module has it, and lets it use all dynamic shared memory there is.
fn resolve(
    modules: &[Arc<CudaModule>],
    kernel: Kernel,
    shared_limit: i32,
) -> Result<CudaFunction, CudaError> {
    let found = modules.iter().find_map(|module| module.load_function(kernel.name()).ok());
    let function = found.ok_or(CudaError::KernelMissing { name: kernel.name() })?;
    let fixed = function.shared_size_bytes().context("cuFuncGetAttribute")?;
    function
        .set_attribute(
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            shared_limit - fixed,
        )
        .context("cuFuncSetAttribute")?;
    function
        .set_attribute(
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
            ALL_SHARED_PERCENT,
        )
        .context("cuFuncSetAttribute")?;
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a device a name cannot be resolved, but a fatbin holds its kernels' names as text.
    /// Machine code is not compressed; a name that is nowhere is a kernel that nobody wrote.
    #[test]
    fn every_kernel_is_in_some_module() {
        for kernel in Kernel::ALL {
            let name = kernel.name().as_bytes();
            let found =
                MODULES.iter().any(|module| module.image.windows(name.len()).any(|window| window == name));
            assert!(found, "{} is in no module", kernel.name());
        }
    }

    #[test]
    fn numbers_follow_the_list() {
        for (index, kernel) in Kernel::ALL.iter().enumerate() {
            assert_eq!(*kernel as usize, index);
        }
    }
}
