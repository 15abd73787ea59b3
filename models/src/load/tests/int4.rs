//! Small models packed as AWQ and GPTQ do, against the same numbers in f32.

use half::f16;
use safetensors::tensor::Dtype;
use serde_json::json;

use super::*;
use crate::weights::int4_tests::{Integers, Tensor, write};
use crate::weights::tests::temporary_folder;

const HIDDEN: usize = 128;
const FFN: usize = 256;
const VOCAB: usize = 96;
/// Every matrix of a layer: `[n, k]`.
const MATRICES: [(&str, [usize; 2]); 7] = [
    ("self_attn.q_proj", [128, HIDDEN]),
    ("self_attn.k_proj", [64, HIDDEN]),
    ("self_attn.v_proj", [64, HIDDEN]),
    ("self_attn.o_proj", [HIDDEN, 128]),
    ("mlp.gate_proj", [FFN, HIDDEN]),
    ("mlp.up_proj", [FFN, HIDDEN]),
    ("mlp.down_proj", [HIDDEN, FFN]),
];

fn config(quantisation: &Value) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 64, "vocab_size": VOCAB, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "hidden_act": "silu", "quantization_config": quantisation,
    })
}

fn halves(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect()
}

/// What is no matrix of a layer.
fn others() -> Vec<Tensor> {
    let table = |name: &str, seed: usize| {
        let value = |i: usize| ((i * 37 + seed * 11 + i * i % 101) % 64) as f32 / 64.0 - 0.5;
        (name.to_owned(), Dtype::F16, vec![VOCAB, HIDDEN], halves((0..VOCAB * HIDDEN).map(value)))
    };
    let norm = |name: String| (name, Dtype::F16, vec![HIDDEN], halves((0..HIDDEN).map(|_| 1.0)));
    let mut tensors = vec![
        table("model.embed_tokens.weight", 1),
        table("lm_head.weight", 2),
        norm("model.norm.weight".into()),
    ];
    for layer_idx in 0..2 {
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(norm(format!("model.layers.{layer_idx}.{name}.weight")));
        }
    }
    tensors
}

/// A folder with a model whose layers' matrices are what `pack` makes of integers.
fn model(
    quantisation: &Value,
    (group, is_symmetric): (usize, bool),
    pack: &dyn Fn(&Integers, &str) -> Vec<Tensor>,
) -> tempfile::TempDir {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("config.json"), config(quantisation).to_string()).expect("room");
    let mut tensors = others();
    for layer_idx in 0..2_u32 {
        for (place, (name, shape)) in MATRICES.iter().enumerate() {
            let integers =
                Integers::new(*shape, group.min(shape[1]), is_symmetric, layer_idx * 7 + place as u32);
            tensors.extend(pack(&integers, &format!("model.layers.{layer_idx}.{name}")));
        }
    }
    write(folder.path(), &tensors);
    folder
}

fn in_f32(integers: &Integers, module: &str) -> Vec<Tensor> {
    let bytes = integers.values().into_iter().flat_map(f32::to_le_bytes).collect();
    vec![(format!("{module}.weight"), Dtype::F32, vec![integers.n, integers.k], bytes)]
}

/// The logits after some tokens.
fn told(folder: &tempfile::TempDir, options: &LoadOptions) -> Vec<f32> {
    let source = ModelSource::from_path(folder.path()).expect("it has a config");
    let mut loaded = load(&source, options).expect("it is served");
    let mut kv = cache(&loaded, options);
    logits(&mut *loaded.model, &batch(&known(&[1, 90, 3, 3, 57, 20, 4]), 0), &mut kv)
}

/// How far `actual` is from `expected`, as a part of the latter's size.
fn distance(expected: &[f32], actual: &[f32]) -> f64 {
    assert_eq!(expected.len(), actual.len());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = expected.iter().zip(actual).map(|(a, b)| square(a - b)).sum();
    (error / expected.iter().map(|a| square(*a)).sum::<f64>()).sqrt()
}

struct Packing {
    config: Value,
    group: usize,
    is_symmetric: bool,
    pack: fn(&Integers, &str) -> Vec<Tensor>,
}

/// Groups of every kind of length, with and without zero points.
fn packings() -> Vec<Packing> {
    let awq = |group: i64| {
        json!({"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": true, "version": "gemm",
               "modules_to_not_convert": ["lm_head"]})
    };
    let gptq = |group: i64, format: &str| {
        json!({"quant_method": "gptq", "bits": 4, "group_size": group, "sym": true, "desc_act": false,
               "checkpoint_format": format})
    };
    let packing = |config, group, is_symmetric, pack| Packing { config, group, is_symmetric, pack };
    vec![
        packing(awq(128), 128, false, Integers::awq),
        packing(awq(32), 32, false, Integers::awq),
        packing(gptq(64, "gptq"), 64, true, |integers, module| integers.gptq(module, 1)),
        packing(gptq(-1, "gptq_v2"), usize::MAX, false, |integers, module| integers.gptq(module, 0)),
        packing(gptq(128, "gptq"), 128, true, |integers, module| integers.gptq(module, 1)),
    ]
}

#[test]
fn a_packed_model_computes_what_its_numbers_do_in_f32() {
    for Packing { config, group, is_symmetric, pack } in packings() {
        let float = model(&Value::Null, (group, is_symmetric), &in_f32);
        let packed = model(&config, (group, is_symmetric), &pack);
        let exact = options(DtypePolicy::F32, ExecutorKind::Native);
        let expected = told(&float, &exact);
        assert!(expected.iter().any(|logit| logit.abs() > 0.01), "{expected:?}");
        let widened = distance(&expected, &told(&packed, &exact));
        let limit = if is_symmetric { 0.0 } else { 2e-3 };
        assert!(widened <= limit, "{config}: {widened}");
        // Products with blocks round their inputs to eight bits.
        let rounded = distance(&expected, &told(&packed, &options(DtypePolicy::Auto, ExecutorKind::Native)));
        assert!(rounded < 0.05, "{config}: {rounded}");
    }
}

#[cfg(feature = "cuda")]
#[test]
fn a_packed_model_computes_on_the_gpu_what_its_numbers_do_on_the_cpu() {
    use spillway_emulated_driver::EmulatedDriver;
    use spillway_kernels::cuda::{ArenaSize, CudaConfig, LaunchOverlap, Products};

    if EmulatedDriver::load().expect("the stand-in can be built and loaded").is_none() {
        return;
    }
    for Packing { config, group, is_symmetric, pack } in packings() {
        let float = model(&Value::Null, (group, is_symmetric), &in_f32);
        let packed = model(&config, (group, is_symmetric), &pack);
        let expected = told(&float, &options(DtypePolicy::F32, ExecutorKind::Native));
        let device = Device::cuda(CudaConfig {
            ordinal: 0,
            arena: ArenaSize::Bytes(64 << 20),
            products: Products::Fastest,
            overlap: LaunchOverlap::Overlapped,
            records_steps: false,
        });
        let device = device.expect("the emulated device opens");
        let on_gpu = LoadOptions { device, ..options(DtypePolicy::Auto, ExecutorKind::Native) };
        let distance = distance(&expected, &told(&packed, &on_gpu));
        assert!(distance < 0.015, "{config}: {distance}");
    }
}

#[test]
fn empty_biases_are_passed_over_and_others_are_left_over() {
    let Packing { config, group, is_symmetric, .. } = packings().remove(2);
    let with_bias = |value: f32| {
        let folder = model(&config, (group, is_symmetric), &|integers, module| {
            let mut tensors = integers.gptq(module, 1);
            let bias = halves((0..integers.n).map(|_| value));
            tensors.push((format!("{module}.bias"), Dtype::F16, vec![integers.n], bias));
            tensors
        });
        let source = ModelSource::from_path(folder.path()).expect("it has a config");
        load(&source, &options(DtypePolicy::Auto, ExecutorKind::Native)).map(|loaded| loaded.summary.types)
    };
    let types = with_bias(0.0).expect("zeros change nothing");
    assert!(types.contains(&("GPTQ int4, groups of 64".to_owned(), 14)), "{types:?}");
    let error = with_bias(0.5).expect_err("nothing adds it").to_string();
    assert!(error.contains("left over (14): model.layers.0.mlp.down_proj.bias"), "{error}");
}

#[test]
fn packed_matrices_are_counted_by_what_their_place_makes_of_them() {
    let Packing { config, group, is_symmetric, pack } = packings().remove(0);
    let folder = model(&config, (group, is_symmetric), &pack);
    let source = ModelSource::from_path(folder.path()).expect("it has a config");
    let bytes = |place, dtype| {
        let options = InspectOptions {
            dtype,
            quantisation: None,
            executor: ExecutorKind::Native,
            place,
            weights: WeightsKind::File,
            kv_cache: KvCacheType::Auto,
            max_num_batched_tokens: 16,
            max_num_seqs: 4,
        };
        inspect(&source, &options).expect("it is served").weight_bytes as usize
    };
    let numbers: usize = 2 * MATRICES.iter().map(|(_, [n, k])| n * k).sum::<usize>();
    let (tables, norms) = (2 * VOCAB * HIDDEN, 5 * HIDDEN);
    let rest = |bytes_of_table: usize| bytes_of_table * tables + 4 * norms;
    assert_eq!(bytes(Place::Gpu, DtypePolicy::Auto), numbers * 17 / 32 + rest(2));
    assert_eq!(bytes(Place::Cpu, DtypePolicy::Auto), numbers * 5 / 8 + rest(2));
    assert_eq!(bytes(Place::Cpu, DtypePolicy::F32), 4 * numbers + rest(4));
}
