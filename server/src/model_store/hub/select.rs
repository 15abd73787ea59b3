//! Which files of a repository make a model. Pure: names in, names out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::config::HubFiles;

/// The safetensors file of a model that is in one piece.
const SINGLE_FILE: &str = "model.safetensors";
/// Says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// A Hugging Face folder: small files first.
    Folder {
        /// All but the shards.
        files: Vec<String>,
        /// Where the weights are.
        weights: Weights,
    },
    /// One GGUF file holds everything.
    Gguf(String),
}

/// Where a folder's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// In one file, which is among the others.
    Single,
    /// In shards that the index names; it is among the others.
    Indexed,
}

/// Why no model can be made of a repository's files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectError {
    /// Nothing in it is read.
    #[error("it has neither model.safetensors with config.json nor a GGUF file; its files: {}", list(.0))]
    NoModel(Vec<String>),
    /// The text part is missing.
    #[error("it has no tokenizer.json; its files: {}", list(.0))]
    NoTokenizer(Vec<String>),
    /// Several GGUF files are possible.
    #[error("it has several GGUF files: name one as owner/name:TAG or owner/name/FILE; they are: {}", list(.0))]
    Several(Vec<String>),
    /// No GGUF file is of the quantisation.
    #[error("no GGUF file in it is of quantisation `{tag}`; its GGUF files: {}", list(files))]
    NoQuantisation {
        /// What was asked for.
        tag: String,
        /// All GGUF files.
        files: Vec<String>,
    },
    /// Several GGUF files are of the quantisation.
    #[error(
        "several GGUF files in it are of quantisation `{tag}`: name one as owner/name/FILE; they are: {}",
        list(files)
    )]
    SeveralOfQuantisation {
        /// What was asked for.
        tag: String,
        /// Those that fit.
        files: Vec<String>,
    },
    /// The named file is not there.
    #[error("it has no file `{file}`; its GGUF files: {}", list(files))]
    NoFile {
        /// What was asked for.
        file: String,
        /// All GGUF files.
        files: Vec<String>,
    },
    /// The model is spread over several GGUF files.
    #[error(
        "`{0}` is one part of several, which are not read: join them with llama-gguf-split --merge, or take another file"
    )]
    SplitGguf(String),
    /// The index is no index.
    #[error("{INDEX_FILE} cannot be read: {0}")]
    Index(String),
    /// The index names what is not there.
    #[error("{INDEX_FILE} names `{0}`, which is not there")]
    NoShard(String),
}

fn list(files: &[String]) -> String {
    if files.is_empty() { "none".to_owned() } else { files.join(", ") }
}

/// Chooses among all files of a repository.
pub(super) fn select(names: &[String], wanted: &HubFiles) -> Result<Selection, SelectError> {
    let ggufs = || names.iter().filter(|name| is_model_gguf(name)).cloned().collect::<Vec<_>>();
    match wanted {
        HubFiles::Gguf(file) if names.contains(file) => gguf(file.clone()),
        HubFiles::Gguf(file) => Err(SelectError::NoFile { file: file.clone(), files: ggufs() }),
        HubFiles::Quantisation(tag) => {
            let mut files = ggufs();
            let all = files.clone();
            files.retain(|file| is_of_quantisation(file, tag));
            let whole: Vec<&String> = files.iter().filter(|file| !is_part_of_several(file)).collect();
            match (whole.as_slice(), files.as_slice()) {
                ([file], _) => gguf((*file).clone()),
                (_, []) => Err(SelectError::NoQuantisation { tag: tag.clone(), files: all }),
                ([], [part, ..]) => Err(SelectError::SplitGguf(part.clone())),
                _ => Err(SelectError::SeveralOfQuantisation { tag: tag.clone(), files }),
            }
        }
        HubFiles::Usual if names.iter().any(|name| name == "config.json") && has_weights(names) => {
            folder(names)
        }
        HubFiles::Usual => match ggufs().as_slice() {
            [] => Err(SelectError::NoModel(names.to_vec())),
            [file] => gguf(file.clone()),
            files => Err(SelectError::Several(files.to_vec())),
        },
    }
}

/// The shards that an index names, each of which must be among `names`.
pub(super) fn shards(index: &[u8], names: &[String]) -> Result<Vec<String>, SelectError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index =
        serde_json::from_slice(index).map_err(|error| SelectError::Index(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| !names.contains(shard)) {
        Some(missing) => Err(SelectError::NoShard(missing.clone())),
        None => Ok(shards.into_iter().collect()),
    }
}

fn gguf(file: String) -> Result<Selection, SelectError> {
    if is_part_of_several(&file) { Err(SelectError::SplitGguf(file)) } else { Ok(Selection::Gguf(file)) }
}

fn has_weights(names: &[String]) -> bool {
    names.iter().any(|name| name == SINGLE_FILE || name == INDEX_FILE)
}

fn folder(names: &[String]) -> Result<Selection, SelectError> {
    if !names.iter().any(|name| name == "tokenizer.json") {
        return Err(SelectError::NoTokenizer(names.to_vec()));
    }
    // The loader prefers the single file, too; some repositories have the same weights in both forms.
    let is_single = names.iter().any(|name| name == SINGLE_FILE);
    let weights = if is_single { Weights::Single } else { Weights::Indexed };
    let weights_file = if is_single { SINGLE_FILE } else { INDEX_FILE };
    let mut files: Vec<String> = names.iter().filter(|name| is_small_file(name)).cloned().collect();
    files.push(weights_file.to_owned());
    Ok(Selection::Folder { files, weights })
}

/// What a folder needs beside its weights.
fn is_small_file(name: &str) -> bool {
    let fits = ["config.json", "generation_config.json"].contains(&name)
        || name.starts_with("tokenizer")
        || name.starts_with("chat_template");
    fits && !name.contains('/')
}

/// Whether a file is a GGUF file with a model, and no projector of images or importance matrix.
fn is_model_gguf(name: &str) -> bool {
    let is_gguf = Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    is_gguf && !file.contains("mmproj") && !file.contains("imatrix")
}

/// Whether a file's name holds the tag, whole and in any case, between its signs.
fn is_of_quantisation(name: &str, tag: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let tag = tag.to_ascii_lowercase();
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    file.match_indices(&tag).any(|(at, _)| {
        let before = file[..at].chars().next_back();
        let after = file[at + tag.len()..].chars().next();
        !before.is_some_and(is_inner) && !after.is_some_and(is_inner)
    })
}

/// Whether a file is named as llama.cpp names the parts of a split one: `-00001-of-00003.gguf`.
fn is_part_of_several(name: &str) -> bool {
    let stem = &name[..name.len().saturating_sub(".gguf".len())];
    let Some((before, total)) = stem.rsplit_once("-of-") else { return false };
    let number = before.rsplit('-').next().unwrap_or_default();
    [number, total].into_iter().all(|text| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
