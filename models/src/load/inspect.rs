//! What is inside a model's files and what it needs, without reading its weights' numbers.
//!
//! In a request's path: not at all; `spillway check` asks.

use spillway_kernels::Quantisation;

use super::footprint::{self, Place};
use super::{
    DtypePolicy, ExecutorKind, ExecutorLimits, Opened, OpenedWeights, WeightsKind, check_quantisation, open,
};
use crate::candle;
use crate::error::ModelError;
use crate::kv_cache::{KvCacheType, KvLayout};
use crate::source::ModelSource;
use crate::spec::{DecoderSpec, FeedForward, LayerSpec};
use crate::text_assets::TextAssets;
use crate::weights::WeightStore;

/// Bytes of a number in f32, in which all activations are.
const F32_BYTES: u64 = 4;

/// How a model would be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectOptions {
    /// What it would compute with.
    pub dtype: DtypePolicy,
    /// What float matrices would be rounded to.
    pub quantisation: Option<Quantisation>,
    /// Whose code would compute.
    pub executor: ExecutorKind,
    /// Where the native executor's weights would live; candle's live where its own device is.
    pub place: Place,
    /// Where its numbers would come from.
    pub weights: WeightsKind,
    /// What its cache would hold.
    pub kv_cache: KvCacheType,
    /// Most tokens of one step.
    pub max_num_batched_tokens: u32,
    /// Most rows of one step.
    pub max_num_seqs: u32,
}

/// What is inside a model's files, and what it needs.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What kind of transformer it is.
    pub spec: DecoderSpec,
    /// Numbers in all weights.
    pub num_parameters: u64,
    /// The files' tensors of each type, most bytes first, those that are not served as well; none if the weights are
    /// dummies.
    pub stored: Vec<StoredTensors>,
    /// Memory of the weights once loaded: a few per cent less than it will be, for what padding adds.
    pub weight_bytes: u64,
    /// Memory of the numbers between ops, for the largest step.
    pub activation_bytes: u64,
    /// The cache it needs.
    pub kv_layout: KvLayout,
    /// Memory of one token in a cache of the executor's own: none for the native one.
    pub own_cache_token_bytes: u64,
    /// What the executor cannot do.
    pub executor_limits: ExecutorLimits,
    /// Tokenizer, template and generation defaults.
    pub text: TextAssets,
}

/// The tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensors {
    /// The type, by its format's name.
    pub stored_type: String,
    /// How many there are.
    pub num_tensors: usize,
    /// Bytes in the files.
    pub bytes: u64,
}

/// Looks into a model's files.
///
/// # Errors
///
/// As [`load`](super::load), but for what only the device can tell.
pub fn inspect(source: &ModelSource, options: &InspectOptions) -> Result<Inspection, ModelError> {
    let Opened { spec, names, text, mut weights } = open(source, options.weights)?;
    if let Some(problem) = spec.problem() {
        return Err(ModelError::Malformed { path: source.path().to_owned(), problem });
    }
    check_quantisation(source, options.quantisation, options.executor, options.place)?;
    let num_parameters = spec.num_parameters().unwrap_or(usize::MAX) as u64;
    let (stored, weight_bytes, dominant) = match &mut weights {
        OpenedWeights::Stored(store) => {
            names.check(&spec, store)?;
            let stored = count(store);
            // The rest is in the files only: loading never reads it.
            store.keep(&names.needed(&spec));
            store.check_types()?;
            (stored, footprint::of_stored(names, &spec, store, options), store.dominant_type())
        }
        OpenedWeights::Dummy(dummy) => {
            (Vec::new(), footprint::of_dummies(&spec, dummy, options), dummy.weight_type())
        }
    };
    let (weight_bytes, kv_layout, own_cache_token_bytes) = match options.executor {
        ExecutorKind::Native => {
            let like_weights = options.dtype.kv_dtype(dominant);
            let kv_dtype = options.kv_cache.choose(like_weights, options.place.kv_dtypes())?;
            (weight_bytes, spec.kv_layout(kv_dtype), 0)
        }
        ExecutorKind::Candle(_) => {
            candle::check(&spec, source.path())?;
            let number_type = candle::number_type(options.dtype, dominant);
            let layout = spec.kv_layout(number_type);
            let bytes = candle::weight_bytes(&spec, number_type);
            (bytes, KvLayout { num_layers: 0, ..layout }, layout.bytes_per_token())
        }
    };
    Ok(Inspection {
        num_parameters,
        stored,
        weight_bytes,
        activation_bytes: activation_bytes(&spec, options),
        kv_layout,
        own_cache_token_bytes,
        executor_limits: options.executor.limits(),
        text,
        spec,
    })
}

fn count(store: &WeightStore) -> Vec<StoredTensors> {
    let mut counts: Vec<StoredTensors> = Vec::new();
    for (_, tensor) in store.described() {
        let stored_type = tensor.stored_type.to_string();
        let bytes = tensor.num_bytes as u64;
        match counts.iter_mut().find(|known| known.stored_type == stored_type) {
            Some(known) => {
                known.num_tensors += 1;
                known.bytes += bytes;
            }
            None => counts.push(StoredTensors { stored_type, num_tensors: 1, bytes }),
        }
    }
    counts.sort_by_key(|known| std::cmp::Reverse(known.bytes));
    counts
}

/// The decoder's buffers: each of them has a row for every token, or for every token that samples.
fn activation_bytes(spec: &DecoderSpec, options: &InspectOptions) -> u64 {
    let (tokens, rows) = (u64::from(options.max_num_batched_tokens), u64::from(options.max_num_seqs));
    let ffn = 3 * spec.largest_ffn_size();
    let per_token =
        3 * spec.hidden_size + 2 * spec.q_size() + 2 * spec.kv_size() + ffn + mixture_columns(spec);
    let per_row = spec.hidden_size + spec.vocab_size;
    F32_BYTES * (tokens * per_token as u64 + rows * per_row as u64)
}

/// Numbers that a mixture of experts keeps for every token besides; all layers' mixtures are of one kind.
fn mixture_columns(spec: &DecoderSpec) -> usize {
    /// Expert and weight of every choice, as the token has them and sorted by expert: all of an f32's size.
    const PER_CHOICE: usize = 4;
    let of_layer = |layer: &LayerSpec| match layer.feed_forward {
        FeedForward::Experts { num_experts, num_active, size, .. } => {
            Some(num_experts + PER_CHOICE * num_active + 2 * spec.hidden_size + 3 * size)
        }
        FeedForward::Dense { .. } => None,
    };
    spec.layers.iter().find_map(of_layer).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use spillway_kernels::DType;
    use spillway_kernels::WeightType;

    use super::*;
    use crate::load::CandleDevice;
    use crate::load::tests::options as load_options;
    use crate::spec::ExpertWeighting;
    use crate::spec::tests::small_spec;
    use crate::weights::tests::temporary_folder;

    fn options(dtype: DtypePolicy) -> InspectOptions {
        InspectOptions {
            dtype,
            quantisation: None,
            executor: ExecutorKind::Native,
            place: Place::Cpu,
            weights: WeightsKind::File,
            kv_cache: KvCacheType::Auto,
            max_num_batched_tokens: 512,
            max_num_seqs: 256,
        }
    }

    fn tiny(path: &str, dtype: DtypePolicy) -> Inspection {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny").join(path);
        let source = ModelSource::from_path(&path).expect("a golden model");
        inspect(&source, &options(dtype)).expect("it can be served")
    }

    #[test]
    fn tensors_are_counted_by_type_and_bytes() {
        let inspection = tiny("gguf/tied-q8_0.gguf", DtypePolicy::Auto);
        let types: Vec<&str> = inspection.stored.iter().map(|stored| stored.stored_type.as_str()).collect();
        assert_eq!(types, ["Q8_0", "f32"]);
        let numbers: u64 = inspection.stored[0].bytes / 34 * 32 + inspection.stored[1].bytes / 4;
        assert_eq!(numbers, inspection.num_parameters);
        assert_eq!(inspection.kv_layout.dtype, DType::F16);
        assert!(inspection.text.vocabulary.is_some());
    }

    #[test]
    fn weights_take_what_the_policy_makes_of_them() {
        let f32 = tiny("tied", DtypePolicy::F32);
        assert_eq!((f32.weight_bytes, f32.kv_layout.dtype), (4 * f32.num_parameters, DType::F32));
        let halved = tiny("tied", DtypePolicy::Bf16).weight_bytes;
        assert!(
            halved > 2 * f32.num_parameters && halved < 3 * f32.num_parameters,
            "norms stay in f32: {halved}"
        );
        let quantised = tiny("gguf/tied-q4_0.gguf", DtypePolicy::Auto);
        assert_eq!(quantised.weight_bytes, quantised.stored.iter().map(|stored| stored.bytes).sum::<u64>());
    }

    #[test]
    fn quantised_matrices_are_counted_by_what_their_place_makes_of_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/tied");
        let source = ModelSource::from_path(&path).expect("a golden model");
        let plain = options(DtypePolicy::Auto);
        let bytes = |place, quantisation| {
            let options = InspectOptions { place, quantisation: Some(quantisation), ..plain };
            inspect(&source, &options).map(|inspection| inspection.weight_bytes)
        };
        let on_gpu = |quantisation| bytes(Place::Gpu, quantisation).expect("a GPU has all of them");
        let numbers = tiny("tied", DtypePolicy::Auto).num_parameters;
        assert!(on_gpu(Quantisation::Int4) < on_gpu(Quantisation::Int8));
        assert_eq!(on_gpu(Quantisation::Int8), on_gpu(Quantisation::Fp8));
        assert!((numbers..numbers * 11 / 10).contains(&on_gpu(Quantisation::Int8)), "{numbers}");
        let on_cpu = bytes(Place::Cpu, Quantisation::Int8).expect("the CPU has it");
        assert!(on_cpu > on_gpu(Quantisation::Int8));
        let error = bytes(Place::Cpu, Quantisation::Fp8).expect_err("there are no such products").to_string();
        let mend = "needs fp8 weights on the CPU, which is not supported; take int8 or int4 there, or serve on a GPU";
        assert!(error.ends_with(mend), "{error}");
    }

    /// As old tools wrote it: with a tensor of integers, which follow from the configuration, and a repeated head.
    #[test]
    fn tensors_that_are_never_read_neither_count_nor_matter() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/tied");
        let folder = temporary_folder();
        let config = std::fs::read(golden.join("config.json")).expect("a golden model");
        std::fs::write(folder.path().join("config.json"), config).expect("the folder takes a file");
        let file = std::fs::read(golden.join("model.safetensors")).expect("a golden model");
        let tensors = safetensors::SafeTensors::deserialize(&file).expect("it is well formed");
        let (integers, head) = ([0_u8; 64], vec![0_u8; 1 << 22]);
        let view = |dtype, len, bytes| safetensors::tensor::TensorView::new(dtype, vec![len], bytes);
        let mut all = tensors.tensors();
        for (name, extra) in [
            ("model.layers.0.self_attn.rotary_emb.inv_freq", view(safetensors::Dtype::I64, 8, &integers)),
            ("lm_head.weight", view(safetensors::Dtype::BF16, 1 << 21, &head)),
        ] {
            all.push((name.to_owned(), extra.expect("bytes fit")));
        }
        let file = safetensors::serialize(all, None).expect("it serialises");
        std::fs::write(folder.path().join("model.safetensors"), file).expect("the folder takes a file");
        let source = ModelSource::from_path(folder.path()).expect("it has a config");
        let inspection = inspect(&source, &options(DtypePolicy::Auto)).expect("as loading does");
        let plain = tiny("tied", DtypePolicy::Auto);
        assert_eq!(inspection.weight_bytes, plain.weight_bytes);
        assert_eq!(inspection.kv_layout, plain.kv_layout);
        assert_eq!(inspection.stored.len(), plain.stored.len() + 2, "{:?}", inspection.stored);
        let loaded = crate::load(&source, &load_options(DtypePolicy::Auto, ExecutorKind::Native));
        assert_eq!(loaded.expect("it is served").kv_layout, plain.kv_layout);
    }

    #[test]
    fn a_gpus_cache_is_bf16_whatever_the_weights_are_unless_it_is_asked_to_be_smaller() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/tied");
        let source = ModelSource::from_path(&path).expect("a golden model");
        let layout = |kv_cache| {
            let options = InspectOptions { kv_cache, place: Place::Gpu, ..options(DtypePolicy::F32) };
            inspect(&source, &options).expect("a GPU holds either").kv_layout.dtype
        };
        assert_eq!((layout(KvCacheType::Auto), layout(KvCacheType::Fp8)), (DType::BF16, DType::E4M3));
        let fp8 = InspectOptions { kv_cache: KvCacheType::Fp8, ..options(DtypePolicy::Auto) };
        let refused = inspect(&source, &fp8).expect_err("the CPU holds none").to_string();
        assert!(refused.contains("fp8_e4m3"), "{refused}");
    }

    #[test]
    fn candle_is_told_of_as_it_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/gguf/tied-q8_0.gguf");
        let source = ModelSource::from_path(&path).expect("a golden model");
        let executor = ExecutorKind::Candle(CandleDevice::Cpu);
        for (dtype, num_bytes) in [(DtypePolicy::Auto, 4), (DtypePolicy::Bf16, 2)] {
            let options = InspectOptions { executor, ..options(dtype) };
            let inspection = inspect(&source, &options).expect("candle computes it");
            let loaded = crate::load(&source, &load_options(dtype, executor)).expect("candle computes it");
            assert_eq!(inspection.weight_bytes, num_bytes * inspection.num_parameters);
            assert_eq!(inspection.weight_bytes, loaded.summary.size_bytes);
            assert_eq!(
                (inspection.kv_layout, inspection.executor_limits),
                (loaded.kv_layout, loaded.executor_limits)
            );
            let spec = &inspection.spec;
            let per_token = 2 * spec.layers.len() as u64 * spec.kv_size() as u64 * num_bytes;
            assert_eq!(inspection.own_cache_token_bytes, per_token);
            let work = crate::ModelWork::of(&loaded).expect("it is dense");
            assert_eq!(work.key_bytes * spec.layers.len() as u64, per_token);
        }
        let quantised =
            InspectOptions { executor, quantisation: Some(Quantisation::Int8), ..options(DtypePolicy::Auto) };
        let error = inspect(&source, &quantised).expect_err("candle quantises nothing").to_string();
        assert!(error.contains("int8 weights in the executor `candle`"), "{error}");
    }

    #[test]
    fn activations_grow_with_the_step() {
        let large = options(DtypePolicy::Auto);
        let small = InspectOptions { max_num_batched_tokens: 1, max_num_seqs: 1, ..large };
        let spec = tiny("tied", DtypePolicy::Auto).spec;
        let (small, large) = (activation_bytes(&spec, &small), activation_bytes(&spec, &large));
        assert!(small * 256 < large && large < small * 512, "{small} {large}");
    }

    #[test]
    fn a_mixtures_buffers_are_counted() {
        let mut spec = small_spec();
        let options = options(DtypePolicy::Auto);
        let without = activation_bytes(&spec, &options);
        let feed_forward = FeedForward::Experts {
            num_experts: 8,
            num_active: 2,
            size: 96,
            weighting: ExpertWeighting::OfChosen,
        };
        spec.layers[1].feed_forward = feed_forward;
        // Router's logits; a token's expert and weight, twice; its row and its result; gate, up and their product.
        let of_token = 8 + 2 * 2 * 2 + 2 * 64 + 3 * 96;
        assert_eq!(activation_bytes(&spec, &options) - without, 4 * 512 * of_token);
    }

    #[test]
    fn the_type_of_dummies_decides_their_size() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/tied");
        let source = ModelSource::from_path(&path).expect("a golden model");
        let weights = WeightsKind::Dummy { seed: 0, weight_type: WeightType::Q8_0 };
        let options = InspectOptions { weights, ..options(DtypePolicy::Auto) };
        let inspection = inspect(&source, &options).expect("a description is enough");
        assert_eq!(
            (inspection.weight_bytes, inspection.stored.len()),
            (inspection.num_parameters * 34 / 32, 0)
        );
    }
}
