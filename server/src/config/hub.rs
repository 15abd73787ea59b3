//! Models of a hub: how users name them, and where the hub, its cache and its token are.
//!
//! The forms are those of Hugging Face's and llama.cpp's tools: `owner/name`, `owner/name:Q4_K_M` for one quantisation
//! of a GGUF repository, `owner/name/file.gguf` for one file, each with `@revision` after it if need be.

use std::fmt;
use std::path::PathBuf;

/// The revision that a repository shows first.
const DEFAULT_REVISION: &str = "main";
/// Longest name of an owner or a repository, as the hub has it.
const MAX_PART_LEN: usize = 96;

/// A model of a hub, and how to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// Which model.
    pub id: HubId,
    /// Branch, tag or commit.
    pub revision: String,
    /// Where it is.
    pub hub: HubConfig,
}

/// Where a hub is, and what is known of it on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Address, without a slash at its end.
    pub endpoint: String,
    /// Folder of downloaded repositories, in the layout that all of the hub's tools share.
    pub cache: PathBuf,
    /// Proves who asks.
    pub token: Option<HubToken>,
    /// Whether the hub may be asked at all.
    pub access: HubAccess,
}

/// Whether the hub may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubAccess {
    /// Yes.
    Online,
    /// No: only what is in the cache is used.
    Offline,
}

/// A secret. It shows itself in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(String);

impl HubToken {
    /// Wraps a token.
    pub(super) fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The secret itself, to be sent to the hub.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(..)")
    }
}

/// A repository of a hub, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repository: String,
    /// Which of its files.
    pub files: HubFiles,
}

/// Which files of a repository make the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFiles {
    /// The safetensors and what belongs to them; or the only GGUF file.
    Usual,
    /// The GGUF file of one quantisation, as in `Q4_K_M`.
    Quantisation(String),
    /// One GGUF file, by its path in the repository.
    Gguf(String),
}

impl HubId {
    /// Reads an id with or without a revision; absent if the text has another form, as most paths do.
    pub(super) fn parse(text: &str) -> Option<(Self, Option<String>)> {
        let (name, revision) = match text.split_once('@') {
            Some((_, "")) => return None,
            Some((name, revision)) => (name, Some(revision.to_owned())),
            None => (text, None),
        };
        let (path, quantisation) = match name.split_once(':') {
            Some((_, tag)) if !is_part(tag) => return None,
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        let mut parts = path.splitn(3, '/');
        let (owner, repository, file) = (parts.next()?, parts.next()?, parts.next());
        if !is_part(owner) || !is_part(repository) {
            return None;
        }
        let files = match (file, quantisation) {
            (None, None) => HubFiles::Usual,
            (None, Some(tag)) => HubFiles::Quantisation(tag.to_owned()),
            (Some(file), None) if is_gguf_path(file) => HubFiles::Gguf(file.to_owned()),
            (Some(_), _) => return None,
        };
        Some((Self { repository: format!("{owner}/{repository}"), files }, revision))
    }
}

impl HubModel {
    /// Puts id and settings together. A revision may be given in one of two places.
    pub(super) fn new(id: HubId, revision: Option<String>, hub: HubConfig) -> Self {
        Self { id, revision: revision.unwrap_or_else(|| DEFAULT_REVISION.to_owned()), hub }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        match &self.files {
            HubFiles::Usual => Ok(()),
            HubFiles::Quantisation(tag) => write!(f, ":{tag}"),
            HubFiles::Gguf(file) => write!(f, "/{file}"),
        }
    }
}

/// Whether a text can name an owner, a repository or a quantisation.
fn is_part(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_PART_LEN).contains(&text.len())
        && text.chars().all(is_inner)
        && !text.starts_with(['.', '-'])
        && !text.ends_with(['.', '-'])
        && !text.contains("..")
        && !text.contains("--")
}

fn is_gguf_path(path: &str) -> bool {
    let is_gguf = path.len() > 5 && path.to_ascii_lowercase().ends_with(".gguf");
    is_gguf && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, HubFiles, Option<String>)> {
        HubId::parse(text).map(|(id, revision)| (id.repository, id.files, revision))
    }

    #[test]
    fn ids_are_read_in_every_form() {
        let repository = || "Qwen/Qwen2.5-0.5B".to_owned();
        let tag = || HubFiles::Quantisation("Q4_K_M".to_owned());
        for (text, files, revision) in [
            ("Qwen/Qwen2.5-0.5B", HubFiles::Usual, None),
            ("Qwen/Qwen2.5-0.5B@v1.0", HubFiles::Usual, Some("v1.0")),
            ("Qwen/Qwen2.5-0.5B@refs/pr/3", HubFiles::Usual, Some("refs/pr/3")),
            ("Qwen/Qwen2.5-0.5B:Q4_K_M", tag(), None),
            ("Qwen/Qwen2.5-0.5B:Q4_K_M@dev", tag(), Some("dev")),
            ("Qwen/Qwen2.5-0.5B/q4/a.gguf", HubFiles::Gguf("q4/a.gguf".to_owned()), None),
        ] {
            let expected = Some((repository(), files, revision.map(str::to_owned)));
            assert_eq!(parsed(text), expected, "{text}");
            let (id, _) = HubId::parse(text).expect("it was read");
            assert_eq!(id.to_string(), text.split('@').next().unwrap_or_default());
        }
    }

    #[test]
    fn paths_and_other_texts_are_no_ids() {
        for text in [
            "demo",
            "gpt2",
            "/a/b",
            "./a/b",
            "../b",
            "a/b/",
            "a//b",
            "a/b/c",
            "a/../b",
            "~/model",
            "a/b:",
            "a/b@",
            "a b/c",
            "a/b/c.gguf:Q8_0",
            "a/b/../c.gguf",
            "-a/b",
            "a/b.",
            "a--b/c",
            "models/tiny.gguf/x",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = HubToken::new("hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.secret(), "hf_secret");
    }
}
