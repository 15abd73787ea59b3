//! The README's table of how much memory serving takes, from the numbers by which the server itself decides.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};
use spillway_kernels::{Quantisation, WeightType};
use spillway_models::{
    DtypePolicy, ExecutorKind, InspectOptions, Inspection, KvCacheType, ModelSource, Place, WeightsKind,
    inspect,
};
use spillway_types::BlockSize;

/// Tokens of each stream.
const CONTEXT_TOKENS: u32 = 8192;
/// How many streams at once.
const STREAMS: [u64; 3] = [1, 16, 64];
/// With `--max-num-batched-tokens`.
const STEP_TOKENS: u32 = 2048;
const BLOCK_TOKENS: u32 = 16;

/// Weights of the table, by the names that users meet: of files, and of floats that are quantised at load.
const QUANTISATIONS: [(&str, WeightType, Option<Quantisation>); 4] = [
    ("bf16", WeightType::BF16, None),
    ("Q8_0", WeightType::Q8_0, None),
    ("Q4_K", WeightType::Q4K, None),
    ("int4", WeightType::BF16, Some(Quantisation::Int4)),
];

/// The shapes of the models, as their `config.json` gives them.
fn models() -> [(&'static str, Value); 5] {
    let llama = |hidden: u32, ffn: u32, layers: u32, tied: bool| {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 128_256, "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": tied, "hidden_act": "silu",
        })
    };
    let qwen3 = |hidden: u32, ffn: u32, layers: u32, heads: u32, tied: bool| {
        json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": hidden,
            "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
            "max_position_embeddings": 40_960, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "tie_word_embeddings": tied, "hidden_act": "silu",
        })
    };
    let qwen2 = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584,
        "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152_064, "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "tie_word_embeddings": false, "hidden_act": "silu",
    });
    [
        ("Llama-3.2-1B", llama(2048, 8192, 16, true)),
        ("Qwen3-4B", qwen3(2560, 9728, 36, 32, true)),
        ("Qwen2.5-7B", qwen2),
        ("Llama-3.1-8B", llama(4096, 14_336, 32, false)),
        ("Qwen3-14B", qwen3(5120, 17_408, 40, 40, false)),
    ]
}

/// The table as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = format!("| model | weights | a stream of {CONTEXT_TOKENS} tokens |");
    for streams in STREAMS {
        let _ = write!(text, " {streams} stream{} |", if streams == 1 { "" } else { "s" });
    }
    let _ = write!(text, "\n|---|---|---|{}", "---|".repeat(STREAMS.len()));
    for (name, config) in models() {
        for (label, weight_type, quantisation) in QUANTISATIONS {
            let inspection = inspection(&config, weight_type, quantisation);
            let stream = kv_bytes_of_stream(&inspection);
            let fixed = inspection.weight_bytes + inspection.activation_bytes;
            let weights = gib(inspection.weight_bytes);
            let _ = write!(text, "\n| {name}, {label} | {weights} | {} |", gib(stream));
            for streams in STREAMS {
                let _ = write!(text, " {} |", gib(fixed + streams * stream));
            }
        }
    }
    text
}

/// What the server would find in a model of this shape.
fn inspection(config: &Value, weight_type: WeightType, quantisation: Option<Quantisation>) -> Inspection {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("config.json"), config.to_string()).expect("room on the disk");
    let source = ModelSource::from_path(folder.path()).expect("a folder with a config");
    let options = InspectOptions {
        dtype: DtypePolicy::Auto,
        quantisation,
        executor: ExecutorKind::Native,
        place: Place::Gpu,
        weights: WeightsKind::Dummy { seed: 0, weight_type },
        kv_cache: KvCacheType::Auto,
        max_num_batched_tokens: STEP_TOKENS,
        max_num_seqs: 256,
    };
    inspect(&source, &options).expect("a shape that is served")
}

fn kv_bytes_of_stream(inspection: &Inspection) -> u64 {
    let block_size = BlockSize::try_from(BLOCK_TOKENS).expect("a block size");
    u64::from(block_size.blocks_for(CONTEXT_TOKENS)) * inspection.kv_layout.bytes_per_block(block_size)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
