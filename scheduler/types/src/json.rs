//! JSON carried as text, so that the domain needs no JSON library.

use std::sync::Arc;

/// A JSON document that was parsed once at the edge and is kept as its text. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Wraps text that the caller knows to be one JSON value.
    pub fn from_valid(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
