//! How much memory weights take once they are loaded, by what each tensor is for and where it lives.
//!
//! In a request's path: not at all; `spillway check` and the README's table ask.

use spillway_kernels::kv::{CPU_DTYPES, GPU_DTYPES};
use spillway_kernels::{DType, Quantisation, WeightType};

use super::{DtypePolicy, InspectOptions};
use crate::arch::WeightNames;
use crate::decoder::MatrixRole;
use crate::dummy::DummyWeights;
use crate::spec::DecoderSpec;
use crate::weights::{DescribedTensor, Int4Matrix, StoredType, WeightStore};

/// Where the weights will live: devices keep some types in forms of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The machine's memory.
    Cpu,
    /// A GPU's.
    Gpu,
}

impl Place {
    /// The types that a KV cache may have there, the preferred one first.
    pub(super) fn kv_dtypes(self) -> &'static [DType] {
        match self {
            Self::Cpu => CPU_DTYPES,
            Self::Gpu => GPU_DTYPES,
        }
    }

    /// Why weights cannot be quantised so here, as the mend.
    pub(super) fn problem(self, quantisation: Quantisation) -> Option<&'static str> {
        match (self, quantisation.cpu_type()) {
            (Self::Cpu, None) => Some("take int8 or int4 there, or serve on a GPU"),
            (Self::Cpu, Some(_)) | (Self::Gpu, _) => None,
        }
    }
}

const F32_BITS: f64 = 32.0;
const HALF_BITS: f64 = 16.0;

/// Bytes of a file's tensors.
pub(super) fn of_stored(
    names: &WeightNames,
    spec: &DecoderSpec,
    store: &WeightStore,
    options: &InspectOptions,
) -> u64 {
    let bits = store.described().map(|(name, tensor)| {
        let numbers = tensor.shape.iter().product::<usize>() as f64;
        numbers * stored_bits(MatrixRole::of_name(names, spec, name), &tensor, options)
    });
    (bits.sum::<f64>() / 8.0) as u64
}

/// Bytes of random weights, whose vectors are too few to count.
pub(super) fn of_dummies(spec: &DecoderSpec, dummy: &DummyWeights, options: &InspectOptions) -> u64 {
    let table = (spec.vocab_size * spec.hidden_size) as f64;
    let all = spec.num_parameters().unwrap_or(usize::MAX) as f64;
    let bits = |role| matrix_bits(role, dummy.weight_type(), options);
    let bits = if spec.tied_head {
        table * bits(MatrixRole::Head) + (all - table) * bits(MatrixRole::Layer)
    } else {
        let [embedding, head] = [MatrixRole::Table, MatrixRole::Head].map(bits);
        table * (embedding + head) + (all - 2.0 * table) * bits(MatrixRole::Layer)
    };
    (bits / 8.0) as u64
}

/// Bits of a number of one tensor.
fn stored_bits(role: MatrixRole, tensor: &DescribedTensor<'_>, options: &InspectOptions) -> f64 {
    match tensor.stored_type {
        _ if tensor.shape.len() < 2 => F32_BITS,
        StoredType::Known(weight_type) => matrix_bits(role, *weight_type, options),
        StoredType::Int4(matrix) => int4_bits(matrix, tensor.shape, options),
        // Such tensors have been refused before.
        StoredType::Other(_) => 0.0,
    }
}

/// Bits of a number of a matrix.
fn matrix_bits(role: MatrixRole, weight_type: WeightType, options: &InspectOptions) -> f64 {
    let is_float = weight_type.block_len() == 1;
    match (role.quantisation(options.quantisation), options.dtype) {
        (Some(quantisation), _) if is_float => quantised_bits(quantisation, options.place),
        (Some(_), _) | (None, DtypePolicy::Auto) => match options.place {
            Place::Cpu => weight_type.file_bits(),
            Place::Gpu => weight_type.gpu_bits(),
        },
        (None, DtypePolicy::F32) => F32_BITS,
        (None, DtypePolicy::Bf16 | DtypePolicy::F16) => HALF_BITS,
    }
}

/// Bits of a number of a packed matrix, with a zero point for each group: those without are found by reading them.
fn int4_bits(matrix: &Int4Matrix, shape: &[usize], options: &InspectOptions) -> f64 {
    const LONG_GROUPS_BITS: f64 = 4.25;
    let columns = shape.last().copied().unwrap_or(0);
    match (options.dtype, matrix.unpacked_type(columns)) {
        (DtypePolicy::F32, _) => F32_BITS,
        (DtypePolicy::Bf16 | DtypePolicy::F16, _) | (DtypePolicy::Auto, WeightType::BF16) => HALF_BITS,
        (DtypePolicy::Auto, weight_type) => match options.place {
            Place::Cpu => weight_type.file_bits(),
            Place::Gpu if matrix.has_long_groups(columns) => LONG_GROUPS_BITS,
            Place::Gpu => weight_type.gpu_bits(),
        },
    }
}

fn quantised_bits(quantisation: Quantisation, place: Place) -> f64 {
    match place {
        Place::Cpu => quantisation.cpu_type().map_or(HALF_BITS, WeightType::file_bits),
        Place::Gpu => quantisation.gpu_bits(),
    }
}
