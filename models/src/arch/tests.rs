//! Configurations and metadata, and the decoders that come of them.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::spec::RopeScaling;
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
        ("mlp_bias", json!(true), "`mlp_bias` true"),
        ("sliding_window", json!(4096), "`sliding_window` 4096"),
        ("rope_scaling", json!({"type": "yarn", "factor": 2.0}), "`rope_type` \"yarn\""),
        ("model_type", json!("mamba"), "architecture `mamba`, which is not supported; supported are: llama"),
        ("hidden_size", json!("64"), "`hidden_size` is \"64\", expected an integer"),
        ("vocab_size", Value::Null, "`vocab_size` is missing"),
    ] {
        let mut spoiled = config();
        spoiled[key] = value;
        let error = read(&spoiled).expect_err(key).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The smallest file with one layer; tensors of one number each, since only names are looked at.
fn gguf(tensors: &[&str]) -> (WeightStore, GgufMetadata, tempfile::TempDir) {
    let unsigned = GgufValue::Unsigned;
    let mut writer = GgufWriter::default()
        .pair("general.architecture", GgufValue::Text("llama".to_owned()))
        .pair("llama.block_count", unsigned(1))
        .pair("llama.context_length", unsigned(64))
        .pair("llama.embedding_length", unsigned(8))
        .pair("llama.feed_forward_length", unsigned(16))
        .pair("llama.attention.head_count", unsigned(2))
        .pair("llama.attention.layer_norm_rms_epsilon", GgufValue::Float(1e-5))
        .pair("tokenizer.ggml.tokens", GgufValue::Texts(vec!["a".to_owned(), "b".to_owned()]));
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
