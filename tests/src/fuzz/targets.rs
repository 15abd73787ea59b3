//! What is fuzzed, and the valid files that inputs are made of.

use std::path::Path;

use spillway::model_text::{self, MissingTokenizer};
use spillway_models::{ModelSource, count_tensor_types, read_spec, read_text};
use spillway_text::Ends;

use crate::places::{golden_folder, tiny_model};

/// A reader of files that others made.
pub struct Target {
    /// For the command line and for messages.
    pub name: &'static str,
    /// Valid files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads a file of these bytes, which is written to a folder. Whether it is refused or read does not matter.
    pub run: fn(&[u8], &Path),
}

/// All of them.
pub fn targets() -> [Target; 3] {
    [
        Target { name: "gguf", seeds: gguf_files, run: read_gguf },
        Target { name: "safetensors", seeds: safetensors_files, run: read_safetensors },
        Target { name: "tokenizer", seeds: gguf_files, run: read_tokenizer },
    ]
}

/// The tensor list and the description of a model.
fn read_gguf(bytes: &[u8], folder: &Path) {
    let source = ModelSource::Gguf(write(bytes, folder, "model.gguf"));
    drop(count_tensor_types(&source));
    drop(read_spec(&source));
}

/// The tensor list of a folder's one file.
fn read_safetensors(bytes: &[u8], folder: &Path) {
    write(bytes, folder, "model.safetensors");
    drop(count_tensor_types(&ModelSource::Folder(folder.to_owned())));
}

/// The vocabulary in a GGUF file's metadata, and a text through it if it is a whole one.
fn read_tokenizer(bytes: &[u8], folder: &Path) {
    let source = ModelSource::Gguf(write(bytes, folder, "model.gguf"));
    let Ok(assets) = read_text(&source) else { return };
    let Ok(text) = model_text::build(assets, MissingTokenizer::Refuse) else { return };
    drop(text.tokenizer.encode_text("Hello, w\u{f6}rld!\n\u{1f600} 123", Ends::Add));
}

fn gguf_files() -> Vec<Vec<u8>> {
    ["tied-q4_0.gguf", "tied-q8_0.gguf", "llama2-q8_0.gguf"]
        .map(|name| read(&tiny_model("gguf").join(name)))
        .to_vec()
}

fn safetensors_files() -> Vec<Vec<u8>> {
    ["tiny/bf16", "tiny/llama2"]
        .map(|name| read(&golden_folder().join(name).join("model.safetensors")))
        .to_vec()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(bytes: &[u8], folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
