//! The sections of the report: each an object of plain values, for JSON and for people alike.

use std::fmt::Write;
use std::fs;

use serde_json::{Map, Value, json};
use spillway_kernels::CpuDevice;
use spillway_models::{
    DecoderSpec, FeedForward, GgufVocabularyData, Inspection, ModelSource, RopeScaling, TextAssets,
    VocabularySource,
};
use spillway_text::TokenizerConfig;

use crate::app::memory::Memory;

/// Keys with sizes end so; people read them in larger units.
const BYTES_SUFFIX: &str = "_bytes";
/// Width of the column of names.
const NAME_WIDTH: usize = 28;

/// What kind of transformer it is.
pub(super) fn model(source: &ModelSource, inspection: &Inspection) -> Value {
    let spec = &inspection.spec;
    let windows: Vec<usize> = spec.layers.iter().filter_map(|layer| layer.window).map(usize::from).collect();
    let sliding = windows
        .first()
        .map(|window| json!({"tokens": window, "layers": windows.len(), "of": spec.layers.len()}));
    let ropes: Vec<Value> = spec
        .ropes
        .iter()
        .map(|rope| json!({"theta": rope.theta, "columns": rope.rotary_dim, "scaling": scaling(&rope.scaling)}))
        .collect();
    json!({
        "path": source.path().display().to_string(),
        "format": match source {
            ModelSource::Folder(_) => "safetensors",
            ModelSource::Gguf(_) => "gguf",
        },
        "architecture": spec.architecture,
        "parameters": inspection.num_parameters,
        "layers": spec.layers.len(),
        "hidden_size": spec.hidden_size,
        "heads": spec.num_heads,
        "kv_heads": spec.num_kv_heads,
        "head_dim": spec.head_dim,
        "feed_forward": feed_forward(spec),
        "vocabulary": spec.vocab_size,
        "context": spec.max_positions,
        "tied_head": spec.tied_head,
        "rope": ropes,
        "sliding_window": sliding,
    })
}

fn feed_forward(spec: &DecoderSpec) -> Value {
    match spec.layers.first().map(|layer| layer.feed_forward) {
        None => Value::Null,
        Some(FeedForward::Dense { size }) => json!(size),
        Some(FeedForward::Experts { num_experts, num_active, size, .. }) => {
            json!({"size": size, "experts": num_experts, "active": num_active})
        }
    }
}

fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => "none".to_owned(),
        RopeScaling::Linear { factor } => format!("linear by {factor}"),
        RopeScaling::Llama3 { factor, original_max_positions, .. } => {
            format!("llama3 by {factor} from {original_max_positions} positions")
        }
        RopeScaling::Divisors(divisors) => format!("{} divisors of the file", divisors.len()),
        RopeScaling::Long { original_max_positions, .. } => {
            format!("longrope from {original_max_positions} positions")
        }
    }
}

/// The tensors by type.
pub(super) fn tensors(inspection: &Inspection) -> Value {
    let of_type = |stored: &spillway_models::StoredTensors| {
        (stored.stored_type.clone(), json!({"tensors": stored.num_tensors, "stored_bytes": stored.bytes}))
    };
    Value::Object(inspection.stored.iter().map(of_type).collect())
}

/// Tokenizer, template and special tokens.
pub(super) fn text_assets(assets: &TextAssets) -> Value {
    let config = assets.tokenizer_config.as_deref().and_then(|json| TokenizerConfig::from_json(json).ok());
    let has_template = assets.chat_template.is_some()
        || config.as_ref().is_some_and(|config| config.chat_template().is_some());
    let (kind, bos, eos) = match &assets.vocabulary {
        None => ("none".to_owned(), None, None),
        Some(VocabularySource::Gguf(data)) => {
            (gguf_kind(data), spelled(data, data.bos), spelled(data, data.eos))
        }
        Some(VocabularySource::TokenizerJson(json)) => {
            let config: Value = assets
                .tokenizer_config
                .as_deref()
                .map_or(Value::Null, |json| serde_json::from_slice(json).unwrap_or_default());
            (json_kind(json), special(&config["bos_token"]), special(&config["eos_token"]))
        }
    };
    json!({
        "tokenizer": kind,
        "chat_template": has_template,
        "bos": bos,
        "eos": eos,
        "end_tokens": assets.end_tokens.iter().map(|token| token.0).collect::<Vec<_>>(),
        "generation_config": assets.generation_config.is_some(),
    })
}

fn gguf_kind(data: &GgufVocabularyData) -> String {
    let pre = data.pre.as_deref().map(|pre| format!(", pre-tokenizer {pre}")).unwrap_or_default();
    format!("gguf {}{pre}, {} tokens", data.model, data.tokens.len())
}

fn spelled(data: &GgufVocabularyData, token: Option<spillway_types::TokenId>) -> Option<String> {
    let token = token?;
    let text = data.tokens.get(token.0 as usize).map_or("?", String::as_str);
    Some(format!("{text} ({token})"))
}

/// A special token of a `tokenizer_config.json`: a text, or an object that holds it.
fn special(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// The kind of a `tokenizer.json`: only its model's name is read, however long the rest is.
fn json_kind(json: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Tokenizer {
        model: Model,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    match serde_json::from_slice::<Tokenizer>(json) {
        Ok(tokenizer) => {
            format!("tokenizer.json {}", tokenizer.model.kind.as_deref().unwrap_or("without a type"))
        }
        Err(error) => format!("tokenizer.json that cannot be read: {error}"),
    }
}

/// What was found on this machine.
pub(super) fn machine(cpu: &CpuDevice, found: Memory) -> Value {
    json!({
        "instructions": cpu.isa().to_string(),
        "threads": cpu.num_threads(),
        "gpu_driver": gpu_driver(),
        "memory_bytes": found.total,
        "memory_free_bytes": found.machine,
        "control_group_left_bytes": found.group,
    })
}

/// The driver of NVIDIA's GPUs, by what it says of itself.
pub(in crate::app) fn gpu_driver() -> Option<String> {
    let version = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    version.lines().next().map(|line| line.trim_start_matches("NVRM version:").trim().to_owned())
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            format!("{:.1} {unit}", bytes as f64 / f64::from(1_u32 << (shift - 10)) / 1024.0)
        }
        None => format!("{bytes} B"),
    }
}

/// The report for people: a section a paragraph, a value a line.
pub(super) fn text(report: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, section) in report {
        match section {
            Value::Object(values) => {
                let _ = writeln!(text, "{name}");
                for (name, value) in values {
                    let shown = shown_name(name);
                    let _ = writeln!(text, "  {shown:NAME_WIDTH$} {}", shown_value(name, value));
                }
                text.push('\n');
            }
            Value::Null => {}
            plain => {
                let _ = writeln!(text, "{name:width$} {}", shown_value(name, plain), width = NAME_WIDTH + 2);
            }
        }
    }
    text
}

/// A key in words. The names of types have capitals, and stay as they are.
fn shown_name(name: &str) -> String {
    let is_word = !name.contains(|c: char| c.is_ascii_uppercase());
    if is_word { name.trim_end_matches(BYTES_SUFFIX).replace('_', " ") } else { name.to_owned() }
}

fn shown_value(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if name.ends_with(BYTES_SUFFIX) => size(bytes),
            _ => number.to_string(),
        },
        Value::Array(values) => {
            values.iter().map(|value| shown_value("", value)).collect::<Vec<_>>().join("; ")
        }
        Value::Object(values) => {
            let pairs = values.iter().map(|(name, value)| {
                format!("{} {}", name.trim_end_matches(BYTES_SUFFIX), shown_value(name, value))
            });
            pairs.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_sizes_in_units_and_programs_in_bytes() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (98 << 20, "98.0 MiB"), (5 << 38, "1.2 TiB")]
        {
            assert_eq!(size(bytes), expected);
        }
        let report = json!({
            "needs": {"weights_bytes": 1 << 30, "max_model_len": 512},
            "tensors": {"Q4_1": {"tensors": 3, "stored_bytes": 2048}},
            "fits": true,
            "problem": null,
        });
        let Value::Object(report) = report else { panic!("it is an object") };
        let text = text(&report);
        let words: Vec<&str> = text.split_whitespace().collect();
        let expected =
            "needs weights 1.0 GiB max model len 512 tensors Q4_1 tensors 3, stored 2.0 KiB fits yes";
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_kind_of_a_tokenizer_is_that_of_its_model() {
        assert_eq!(
            json_kind(br#"{"version": "1.0", "model": {"type": "BPE", "vocab": {}}}"#),
            "tokenizer.json BPE"
        );
        assert!(json_kind(b"{").contains("cannot be read"));
        assert_eq!(special(&json!({"content": "<s>"})).as_deref(), Some("<s>"));
        assert_eq!((special(&json!("</s>")).as_deref(), special(&Value::Null)), (Some("</s>"), None));
    }
}
