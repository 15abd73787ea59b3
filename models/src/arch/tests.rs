//! Configurations and metadata, and the decoders that come of them.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::spec::{Activation, ExpertWeighting, FeedForward, RopeScaling};
use crate::weights::gguf::GgufValue;
use crate::weights::gguf::writer::GgufWriter;
use crate::weights::tests::temporary_folder;

fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": true
    })
}

fn read(config: &Value) -> Result<DecoderSpec, ModelError> {
    let folder = temporary_folder();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).expect("the folder takes a file");
    let config = ConfigJson::read(&path)?;
    (HfForm::of(&config)?.spec)(&config)
}

#[test]
fn reads_a_config_with_its_defaults() {
    let spec = read(&config()).expect("the config is well formed");
    assert_eq!((spec.head_dim, spec.num_kv_heads, spec.kv_size()), (16, 2, 32));
    assert_eq!((spec.ropes[0].theta, spec.tied_head), (10_000.0, true));
    assert_eq!(spec.problem(), None);
}

#[test]
fn reads_rotary_numbers_from_old_and_new_keys() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let mut old = config();
    old["rope_theta"] = json!(500_000.0);
    old["rope_scaling"] = scaling.clone();
    let mut new = config();
    new["rope_parameters"] = scaling;
    new["rope_parameters"]["rope_theta"] = json!(500_000.0);
    let (old, new) = (read(&old).expect("old keys"), read(&new).expect("new keys"));
    assert_eq!(old.ropes, new.ropes);
    assert!(matches!(old.ropes[0].scaling, RopeScaling::Llama3 { factor: 32.0, .. }));
}

#[test]
fn refuses_by_name_what_the_decoder_does_not_compute() {
    for (key, value, expected) in [
        ("hidden_act", json!("gelu"), "`hidden_act` \"gelu\""),
        ("attention_bias", json!(true), "`attention_bias` true"),
        ("rope_scaling", json!({"type": "longrope", "long_mscale": 1.1}), "`long_mscale` 1.1"),
        ("mlp_bias", json!(true), "`mlp_bias` true"),
        ("sliding_window", json!(4096), "`sliding_window` 4096"),
        ("rope_scaling", json!({"type": "yarn", "factor": 2.0}), "`rope_type` \"yarn\""),
        ("model_type", json!("mamba"), "architecture `mamba`, which is not supported; supported are: llama"),
        ("hidden_size", json!("64"), "`hidden_size` is \"64\", expected an integer"),
        ("vocab_size", Value::Null, "`vocab_size` is missing"),
        ("num_hidden_layers", json!(4_294_967_295_u32), "`num_hidden_layers` is 4294967295, limit 4096"),
    ] {
        let mut spoiled = config();
        spoiled[key] = value;
        let error = read(&spoiled).expect_err(key).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn of_family(model_type: &str, keys: &Value) -> Value {
    let mut config = config();
    config["model_type"] = json!(model_type);
    for (key, value) in keys.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

/// The window of each layer; zero for none.
fn windows(spec: &DecoderSpec) -> Vec<usize> {
    spec.layers.iter().map(|layer| layer.window.map_or(0, std::num::NonZeroUsize::get)).collect()
}

/// The same with what Qwen3's mixtures need besides.
fn with_experts(mut keys: Value) -> Value {
    keys["num_experts"] = json!(4);
    keys["num_experts_per_tok"] = json!(2);
    keys["moe_intermediate_size"] = json!(32);
    keys
}

#[test]
fn a_window_that_is_left_out_is_the_familys_default_and_null_is_none() {
    for (model_type, keys, expected) in [
        ("mistral", json!({}), [4096, 4096]),
        ("mistral", json!({"sliding_window": null}), [0, 0]),
        ("qwen2", json!({"sliding_window": 32}), [0, 0]),
        ("qwen2", json!({"use_sliding_window": true, "max_window_layers": 1}), [0, 4096]),
        (
            "qwen3",
            json!({"use_sliding_window": true, "layer_types": ["sliding_attention", "full_attention"]}),
            [4096, 0],
        ),
        ("qwen3_moe", with_experts(json!({"sliding_window": 32, "max_window_layers": 1})), [0, 0]),
        (
            "qwen3_moe",
            with_experts(json!({
                "use_sliding_window": true, "max_window_layers": 1,
                "layer_types": ["full_attention", "sliding_attention"]
            })),
            [4096, 4096],
        ),
        ("qwen3_moe", with_experts(json!({"use_sliding_window": true, "sliding_window": null})), [0, 0]),
        ("phi3", json!({}), [0, 0]),
        ("phi3", json!({"sliding_window": 2047}), [2047, 2047]),
        ("gemma2", json!({"hidden_act": null}), [4096, 0]),
        (
            "gemma3_text",
            json!({"hidden_act": null, "sliding_window_pattern": 2, "sliding_window": 7}),
            [7, 0],
        ),
    ] {
        let spec = read(&of_family(model_type, &keys)).expect(model_type);
        assert_eq!(windows(&spec), expected, "{model_type} {keys}");
    }
}

#[test]
fn a_gemmas_gate_is_gelu_unless_its_config_says_otherwise() {
    for model_type in ["gemma2", "gemma3_text"] {
        let activation = |keys| read(&of_family(model_type, &keys)).expect(model_type).activation;
        assert_eq!(activation(json!({"hidden_act": null})), Activation::GeluTanh, "{model_type}");
        assert_eq!(activation(json!({"hidden_activation": "silu"})), Activation::Silu, "{model_type}");
        for (value, expected) in
            [(json!("relu"), "`hidden_activation` \"relu\""), (json!(null), "is missing")]
        {
            let error =
                read(&of_family(model_type, &json!({"hidden_activation": value}))).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

#[test]
fn a_published_gemma3_with_eyes_is_read_by_its_defaults() {
    let text = json!({
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024
    });
    let mut config = json!({"model_type": "gemma3", "text_config": text});
    let spec = read(&config).expect("as published");
    assert_eq!((spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.vocab_size), (8, 4, 256, 262_208));
    assert_eq!(windows(&spec)[..7], [1024, 1024, 1024, 1024, 1024, 0, 1024]);
    assert_eq!((spec.ropes[0].theta, &spec.ropes[0].scaling), (1e6, &RopeScaling::Linear { factor: 8.0 }));
    assert_eq!((spec.ropes[1].theta, &spec.ropes[1].scaling), (1e4, &RopeScaling::None));
    assert_eq!((spec.layers[0].rope_idx, spec.layers[5].rope_idx, spec.tied_head), (1, 0, true));
    assert_eq!(spec.problem(), None);
    config["quantization_config"] = json!({"quant_method": "awq"});
    let error = read(&config).expect_err("its weights are packed").to_string();
    assert!(error.contains("`quantization_config`"), "{error}");
}

#[test]
fn the_columns_that_turn_are_told_beside_the_rope_or_within() {
    for keys in [
        json!({"partial_rotary_factor": 0.75}),
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}}),
    ] {
        let spec = read(&of_family("phi3", &keys)).expect("well formed");
        assert_eq!((spec.ropes[0].rotary_dim, spec.head_dim), (12, 16), "{keys}");
    }
}

/// Goal: the attention factor of a longrope that names none. Expected: `sqrt(1 + ln(32) / ln(4096))`, by hand.
#[test]
fn a_longrope_without_an_attention_factor_has_the_papers() {
    let keys = json!({
        "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [2, 2, 2, 2, 2, 2, 2, 2]}
    });
    let factor = read(&of_family("phi3", &keys)).expect("well formed").ropes[0].attention_factor();
    assert!((factor - 1.190_238).abs() < 1e-6, "{factor}");
}

#[test]
fn a_mixtral_without_a_theta_has_its_familys() {
    let keys = json!({"num_local_experts": 4, "num_experts_per_tok": 2});
    let theta = |keys: &Value| read(&of_family("mixtral", keys)).expect("well formed").ropes[0].theta;
    assert_eq!(theta(&keys).to_bits(), 1e6_f32.to_bits());
    let mut own = keys;
    own["rope_theta"] = json!(5e5);
    assert_eq!(theta(&own).to_bits(), 5e5_f32.to_bits());
}

#[test]
fn only_some_layers_have_experts_if_the_config_says_so() {
    let keys = json!({
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "mlp_only_layers": [0]
    });
    let spec = read(&of_family("qwen3_moe", &keys)).expect("well formed");
    let weighting = ExpertWeighting::OfAll;
    let experts = FeedForward::Experts { num_experts: 4, num_active: 2, size: 32, weighting };
    let parts: Vec<FeedForward> = spec.layers.iter().map(|layer| layer.feed_forward).collect();
    assert_eq!(parts, [FeedForward::Dense { size: 96 }, experts]);
}

#[test]
fn a_step_of_two_gives_experts_to_every_second_layer_from_the_second_on() {
    let keys = with_experts(json!({"num_hidden_layers": 4, "decoder_sparse_step": 2}));
    let spec = read(&of_family("qwen3_moe", &keys)).expect("well formed");
    let has_experts =
        |layer: &crate::spec::LayerSpec| matches!(layer.feed_forward, FeedForward::Experts { .. });
    assert_eq!(spec.layers.iter().map(has_experts).collect::<Vec<_>>(), [false, true, false, true]);
}

/// The smallest file with one layer; tensors of one number each, since only names are looked at.
fn gguf(tensors: &[&str]) -> (WeightStore, GgufMetadata, tempfile::TempDir) {
    gguf_with([("llama.block_count", GgufValue::Unsigned(1))], tensors)
}

/// The same with these pairs, among which must be the number of layers.
fn gguf_with<const N: usize>(
    pairs: [(&str, GgufValue); N],
    tensors: &[&str],
) -> (WeightStore, GgufMetadata, tempfile::TempDir) {
    let unsigned = GgufValue::Unsigned;
    let mut writer = GgufWriter::default()
        .pair("general.architecture", GgufValue::Text("llama".to_owned()))
        .pair("llama.context_length", unsigned(64))
        .pair("llama.embedding_length", unsigned(8))
        .pair("llama.feed_forward_length", unsigned(16))
        .pair("llama.attention.head_count", unsigned(2))
        .pair("llama.attention.layer_norm_rms_epsilon", GgufValue::Float(1e-5))
        .pair("tokenizer.ggml.tokens", GgufValue::Texts(vec!["a".to_owned(), "b".to_owned()]));
    for (key, value) in pairs {
        writer = writer.pair(key, value);
    }
    for name in tensors {
        let len = if *name == "rope_freqs.weight" { 2 } else { 1 };
        writer = writer.tensor(name, &[len], 0, [0, 0, 0x80, 0x3f].repeat(len));
    }
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, writer.finish()).expect("the folder takes a file");
    let (store, metadata) = WeightStore::open_gguf(Path::new(&path)).expect("the file is well formed");
    (store, metadata, folder)
}

#[test]
fn a_gguf_head_is_tied_unless_it_is_there_and_rotary_divisors_are_read() {
    let (store, metadata, _folder) = gguf(&["output.weight", "rope_freqs.weight"]);
    let spec = GgufForm::of(&metadata).expect("llama").spec(&metadata, &store).expect("spec");
    assert!(!spec.tied_head);
    assert_eq!((spec.head_dim, spec.num_kv_heads, spec.vocab_size), (4, 2, 2));
    assert_eq!(spec.ropes[0].scaling, RopeScaling::Divisors(vec![1.0, 1.0]));
    let (store, metadata, _folder) = gguf(&[]);
    let spec = GgufForm::of(&metadata).expect("llama").spec(&metadata, &store).expect("spec");
    assert!(spec.tied_head);
}

/// What a file of one of Gemma's families says with these pairs, whose keys follow the architecture's name: heads have 16
/// columns, two of them a hidden size of 96.
fn gguf_gemma(architecture: &str, num_layers: u64, pairs: &[(&str, f64)]) -> DecoderSpec {
    let mut writer = GgufWriter::default()
        .pair("general.architecture", GgufValue::Text(architecture.to_owned()))
        .pair("tokenizer.ggml.tokens", GgufValue::Texts(vec!["a".to_owned()]));
    for (key, count) in [
        ("block_count", num_layers),
        ("context_length", 64),
        ("embedding_length", 96),
        ("feed_forward_length", 128),
        ("attention.head_count", 2),
        ("attention.key_length", 16),
        ("attention.sliding_window", 8),
    ] {
        writer = writer.pair(&format!("{architecture}.{key}"), GgufValue::Unsigned(count));
    }
    for (key, number) in [("attention.layer_norm_rms_epsilon", 1e-6)].iter().chain(pairs) {
        writer = writer.pair(&format!("{architecture}.{key}"), GgufValue::Float(*number));
    }
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, writer.finish()).expect("the folder takes a file");
    let (store, metadata) = WeightStore::open_gguf(&path).expect("the file is well formed");
    GgufForm::of(&metadata).expect(architecture).spec(&metadata, &store).expect("spec")
}

#[test]
fn a_gguf_gemma_of_27b_is_known_by_its_layers_and_scales_scores_by_its_hidden_size() {
    for (architecture, layers_of_27b) in [("gemma2", 46), ("gemma3", 62)] {
        let scale = |num_layers| gguf_gemma(architecture, num_layers, &[]).attention.scale;
        assert_eq!(scale(layers_of_27b).to_bits(), (1.0 / 48.0_f32.sqrt()).to_bits(), "{architecture}");
        assert_eq!(scale(layers_of_27b - 1).to_bits(), 0.25_f32.to_bits(), "{architecture}");
    }
}

#[test]
fn a_gguf_gemma3_has_a_base_for_each_of_its_ropes() {
    let thetas = |pairs: &[(&str, f64)]| {
        let spec = gguf_gemma("gemma3", 6, pairs);
        assert_eq!((spec.layers[0].rope_idx, spec.layers[5].rope_idx), (1, 0));
        [spec.ropes[0].theta, spec.ropes[1].theta].map(f32::to_bits)
    };
    let full = ("rope.freq_base", 1e6);
    assert_eq!(thetas(&[full]), [1e6_f32, 1e4].map(f32::to_bits));
    assert_eq!(thetas(&[full, ("rope.freq_base_swa", 5e4)]), [1e6_f32, 5e4].map(f32::to_bits));
}

#[test]
fn a_gguf_factor_without_a_type_stretches_linearly() {
    let scaling = |factor| {
        let pairs = [
            ("llama.block_count", GgufValue::Unsigned(1)),
            ("llama.rope.scaling.factor", GgufValue::Float(factor)),
        ];
        let (store, metadata, _folder) = gguf_with(pairs, &[]);
        let spec = GgufForm::of(&metadata).expect("llama").spec(&metadata, &store).expect("spec");
        spec.ropes[0].scaling.clone()
    };
    assert_eq!(scaling(4.0), RopeScaling::Linear { factor: 4.0 });
    assert_eq!((scaling(0.0), scaling(1.0)), (RopeScaling::None, RopeScaling::None));
}

#[test]
fn a_gguf_attention_factor_counts_with_longrope_only() {
    let read = |factor| {
        let pairs = [
            ("llama.block_count", GgufValue::Unsigned(1)),
            ("llama.rope.scaling.attn_factor", GgufValue::Float(factor)),
        ];
        let (store, metadata, _folder) = gguf_with(pairs, &[]);
        GgufForm::of(&metadata).expect("llama").spec(&metadata, &store)
    };
    assert!(read(1.0).is_ok());
    let error = read(1.5).expect_err("no longrope").to_string();
    assert!(error.contains("`llama.rope.scaling.attn_factor` 1.5"), "{error}");
}

#[test]
fn a_gguf_file_that_lies_about_its_layers_is_refused_before_there_is_room_for_them() {
    let (store, metadata, _folder) =
        gguf_with([("llama.block_count", GgufValue::Unsigned(4_294_967_295))], &[]);
    let error =
        GgufForm::of(&metadata).expect("llama").spec(&metadata, &store).expect_err("a lie").to_string();
    assert!(error.contains("`llama.block_count` is 4294967295, limit 4096"), "{error}");
}

#[test]
fn missing_and_left_over_tensors_are_all_named() {
    let (store, metadata, _folder) =
        gguf(&["token_embd.weight", "blk.0.attn_q.bias", "output_norm.weight", "x"]);
    let form = GgufForm::of(&metadata).expect("llama");
    let spec = form.spec(&metadata, &store).expect("spec");
    let error = form.names.check(&spec, &store).expect_err("most are missing").to_string();
    for part in [
        "missing (9): blk.0.attn_k.weight, blk.0.attn_norm.weight",
        "blk.0.ffn_up.weight; left over (2): blk.0.attn_q.bias, x",
    ] {
        assert!(error.contains(part), "{error}");
    }
}
