//! Tiny checkpoints of every format and type against what transformers computed for them.

use std::path::PathBuf;

use serde_json::Value;
use spillway_kernels::CpuOptions;
use spillway_types::{BlockId, BlockSize, Sampling, Seed, SeqId, TokenId};

use super::*;
use crate::batch::{BatchRow, ForwardBatch, InputToken, RowSampling};
use crate::kv_cache::KvCache;
use crate::model::{Logits, Model};
use crate::runner::ModelRunner;
use crate::text_assets::VocabularySource;

mod int4;

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn tiny_models() -> Vec<Value> {
    let json = std::fs::read(golden_folder().join("tiny.json")).expect("the golden is there");
    let golden: Value = serde_json::from_slice(&json).expect("the golden is JSON");
    golden["models"].as_array().expect("a list of models").clone()
}

fn source(model: &Value) -> ModelSource {
    let path = golden_folder().join("tiny").join(text(&model["path"]));
    ModelSource::from_path(&path).expect("the model is there")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

pub(crate) fn options(dtype: DtypePolicy, executor: ExecutorKind) -> LoadOptions {
    LoadOptions {
        device: Device::cpu(&CpuOptions::default()).expect("the processor is there"),
        dtype,
        quantisation: None,
        executor,
        weights: WeightsKind::File,
        kv_cache: KvCacheType::Auto,
        max_num_batched_tokens: 300,
        max_num_seqs: 4,
        max_model_len: None,
    }
}

fn cache(loaded: &LoadedModel, options: &LoadOptions) -> KvCache {
    let block_size = BlockSize::try_from(16).expect("16 is a block size");
    KvCache::new(&options.device, &loaded.kv_layout, block_size, 32).expect("it is small")
}

/// One row that computes `tokens` from position `start` on and samples greedily.
fn batch(tokens: &[InputToken], start: u32) -> ForwardBatch {
    let num_tokens = tokens.len() as u32;
    let kv_len = start + num_tokens;
    let sample = RowSampling {
        sampling: Sampling::Greedy,
        seed: Seed(0),
        choice: 0,
        position: kv_len,
        logprobs: None,
        rules: None,
        outputs: 0..0,
    };
    ForwardBatch {
        tokens: tokens.to_vec(),
        positions: (start..kv_len).collect(),
        rows: vec![BatchRow {
            seq_id: SeqId(0),
            tokens: 0..num_tokens,
            kv_len,
            blocks: 0..32,
            score: None,
            sample: Some(sample),
        }],
        block_ids: (0..32).rev().map(BlockId).collect(),
        targets: Vec::new(),
        outputs: Vec::new(),
    }
}

/// The logits of the only row of a step.
fn logits(model: &mut dyn Model, batch: &ForwardBatch, kv: &mut KvCache) -> Vec<f32> {
    let mut values = Vec::new();
    let mut sink = |logits: Logits<'_>| values.extend(logits.rows().flatten().copied());
    model.forward(batch, kv, &mut sink).expect("the step is fine");
    values
}

fn known(ids: &[u32]) -> Vec<InputToken> {
    ids.iter().map(|&id| InputToken::Known(TokenId(id))).collect()
}

/// The largest difference from the reference's logits, relative to the largest logit, over all prompts of a model.
fn worst_logit_error(model: &Value, options: &LoadOptions) -> f64 {
    let mut loaded = load(&source(model), options).expect("the model loads");
    let mut kv = cache(&loaded, options);
    let mut worst = 0.0_f64;
    for prompt in model["prompts"].as_array().expect("a list of prompts") {
        let expected = numbers(&prompt["logits"]);
        let batch = batch(&known(&ids(&prompt["prompt_ids"])), 0);
        let row = logits(&mut *loaded.model, &batch, &mut kv);
        assert_eq!(row.len(), expected.len());
        let largest = expected.iter().fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
        for (ours, theirs) in row.iter().zip(&expected) {
            assert!(ours.is_finite(), "a logit is {ours}, expected {theirs}");
            worst = worst.max((f64::from(*ours) - theirs).abs() / largest);
        }
    }
    worst
}

#[test]
fn dummy_weights_serve_every_architecture() {
    let json = std::fs::read(golden_folder().join("architectures.json")).expect("the golden is there");
    let golden: Value = serde_json::from_slice(&json).expect("the golden is JSON");
    let models = golden["models"].as_array().expect("a list of models");
    assert!(models.len() >= 24, "only {} models", models.len());
    for model in models {
        let path = golden_folder().join("architectures").join(text(&model["path"]));
        let source = ModelSource::from_path(&path).expect("the model is there");
        let weights = WeightsKind::Dummy { seed: 1, weight_type: WeightType::Q8_0 };
        let options = LoadOptions { weights, ..options(DtypePolicy::Auto, ExecutorKind::Native) };
        let mut loaded = load(&source, &options).expect("dummies are made to measure");
        let mut kv = cache(&loaded, &options);
        let logits = logits(loaded.model.as_mut(), &batch(&known(&[1, 2, 3]), 0), &mut kv);
        let is_fine =
            logits.iter().all(|logit| logit.is_finite()) && logits.iter().any(|logit| *logit != 0.0);
        assert!(is_fine, "{}", path.display());
    }
}

#[test]
fn a_quantisation_that_the_device_or_the_executor_lacks_is_refused() {
    let source = source(&tiny_models()[0]);
    let refusal = |quantisation, executor| {
        let quantisation = Some(quantisation);
        let options = LoadOptions { quantisation, ..options(DtypePolicy::Auto, executor) };
        load(&source, &options).err().expect("it is refused").to_string()
    };
    let error = refusal(Quantisation::Fp8, ExecutorKind::Native);
    assert!(error.contains("needs fp8 weights on the CPU"), "{error}");
    assert!(error.ends_with("take int8 or int4 there, or serve on a GPU"), "{error}");
    let error = refusal(Quantisation::Int8, ExecutorKind::Candle(CandleDevice::Cpu));
    assert!(error.contains("int8 weights in the executor `candle`"), "{error}");
}

#[test]
fn logits_of_every_format_and_type_equal_the_references_in_f32() {
    let models = tiny_models();
    assert!(models.len() >= 13, "only {} models", models.len());
    for model in &models {
        let error = worst_logit_error(model, &options(DtypePolicy::F32, ExecutorKind::Native));
        assert!(error <= 1e-4, "{}: relative error {error}", text(&model["path"]));
    }
}

#[test]
fn greedy_tokens_equal_the_references_over_32_steps() {
    for model in tiny_models() {
        let options = options(DtypePolicy::F32, ExecutorKind::Native);
        for prompt in model["prompts"].as_array().expect("a list of prompts") {
            let loaded = load(&source(&model), &options).expect("the model loads");
            let kv = cache(&loaded, &options);
            let mut runner = ModelRunner::new(loaded.model, kv, loaded.runner_limits);
            let prompt_ids = ids(&prompt["prompt_ids"]);
            let (expected, margins) = (ids(&prompt["tokens"]), numbers(&prompt["margins"]));
            let logprobs = numbers(&prompt["logprobs"]);
            let mut next = batch(&known(&prompt_ids), 0);
            for (step, &token) in expected.iter().enumerate() {
                let sampled = runner.run(&next).expect("the step is fine");
                let ours = &sampled.rows[0].as_ref().expect("logits are finite").sampled[0];
                if ours.token.0 != token {
                    assert!(margins[step] < 1e-3, "{}: step {step}", text(&model["path"]));
                    break;
                }
                assert!((f64::from(ours.logprob) - logprobs[step]).abs() < 1e-3);
                next = batch(&[InputToken::Sampled { row: 0 }], (prompt_ids.len() + step) as u32);
            }
        }
    }
}

#[test]
fn candle_computes_the_same_models_where_it_can() {
    let mut num_compared = 0;
    for model in tiny_models() {
        let options = options(DtypePolicy::F32, ExecutorKind::Candle(CandleDevice::Cpu));
        match load(&source(&model), &options) {
            Ok(loaded) => {
                assert_eq!(loaded.executor_limits.max_num_seqs, Some(1));
                let error = worst_logit_error(&model, &options);
                assert!(error <= 1e-4, "{}: relative error {error}", text(&model["path"]));
                num_compared += 1;
            }
            Err(error) => assert!(error.to_string().contains("with the candle executor"), "{error}"),
        }
    }
    assert!(num_compared >= 10, "only {num_compared} models were compared");
}

/// Quantised products round their inputs to 8 bits, so they are close to the reference and not equal to it.
#[test]
fn types_as_they_are_in_the_file_stay_near_the_reference() {
    for model in tiny_models() {
        let error = worst_logit_error(&model, &options(DtypePolicy::Auto, ExecutorKind::Native));
        let limit = if text(&model["path"]).contains("-q") || text(&model["path"]).contains("bf16") {
            0.05
        } else {
            0.005
        };
        assert!(error <= limit, "{}: relative error {error}", text(&model["path"]));
    }
}

#[test]
fn half_precision_is_near_single_precision() {
    for (dtype, limit) in [(DtypePolicy::F16, 0.01), (DtypePolicy::Bf16, 0.05)] {
        let model = &tiny_models()[0];
        let error = worst_logit_error(model, &options(dtype, ExecutorKind::Native));
        assert!(error > 1e-5 && error <= limit, "{dtype:?}: relative error {error}");
    }
}

#[test]
fn text_assets_come_from_either_format() {
    for model in tiny_models() {
        let path = text(&model["path"]).to_owned();
        let loaded =
            load(&source(&model), &options(DtypePolicy::Auto, ExecutorKind::Native)).expect("it loads");
        match loaded.text.vocabulary.expect("there is a tokenizer") {
            VocabularySource::TokenizerJson(bytes) => {
                assert!(!path.contains("gguf") && bytes.starts_with(b"{"), "{path}");
                assert!(loaded.text.tokenizer_config.is_some(), "{path}");
            }
            VocabularySource::Gguf(data) => {
                assert!(path.contains("gguf") && data.tokens.len() == 512, "{path}");
                assert!(loaded.text.chat_template.is_some(), "{path}");
                assert_eq!(data.scores.is_empty(), data.model != "llama", "{path}");
            }
        }
        assert!(!loaded.text.end_tokens.is_empty(), "{path}");
    }
}

#[test]
fn limits_that_the_model_cannot_honour_are_named() {
    let model = &tiny_models()[0];
    let mut options = options(DtypePolicy::Auto, ExecutorKind::Native);
    options.max_model_len = Some(513);
    let error = load(&source(model), &options).err().expect("too long").to_string();
    assert_eq!(error, "`max_model_len` is 513, limit 512 for this model");
}

#[test]
fn dummy_weights_need_only_a_config_and_give_the_same_logits_again() {
    let folder = tempfile::tempdir().expect("the system has a temporary folder");
    let config = golden_folder().join("tiny/llama3/config.json");
    std::fs::copy(config, folder.path().join("config.json")).expect("the folder takes a file");
    let source = ModelSource::from_path(folder.path()).expect("it has a config");
    let dummy_logits = |seed, weight_type| {
        let mut options = options(DtypePolicy::Auto, ExecutorKind::Native);
        options.weights = WeightsKind::Dummy { seed, weight_type };
        let mut loaded = load(&source, &options).expect("nothing else is needed");
        let mut kv = cache(&loaded, &options);
        logits(&mut *loaded.model, &batch(&known(&[1, 2, 3]), 0), &mut kv)
    };
    for weight_type in
        [WeightType::F32, WeightType::BF16, WeightType::Q4_0, WeightType::Q4_1, WeightType::Q8_0]
    {
        let first = dummy_logits(1, weight_type);
        assert!(first.iter().all(|logit| logit.is_finite()));
        assert!(first == dummy_logits(1, weight_type), "{weight_type}: the same seed gives other logits");
        assert!(first != dummy_logits(2, weight_type), "{weight_type}: another seed gives the same logits");
    }
}
