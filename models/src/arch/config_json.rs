//! A Hugging Face `config.json`, asked for by key and type.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use spillway_types::TokenId;

use crate::error::ModelError;
use crate::source::read_limited;

/// Longest config.json that is read; real ones have a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The object in a config.json.
#[derive(Debug)]
pub(crate) struct ConfigJson {
    path: PathBuf,
    values: Map<String, Value>,
}

impl ConfigJson {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = read_limited(path, MAX_CONFIG_BYTES)?;
        let values = serde_json::from_slice(&bytes)
            .map_err(|error| ModelError::Malformed { path: path.to_owned(), problem: error.to_string() })?;
        Ok(Self { path: path.to_owned(), values })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A part of the configuration that is an object itself, if it is there.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Self { path: self.path.clone(), values: values.clone() })),
            Some(other) => Err(self.wrong_type(key, "an object", other)),
        }
    }

    /// The same with `defaults`, an object, for keys that are not there at all; `null` stays.
    pub(crate) fn with_defaults(&self, defaults: &Value) -> Self {
        let mut values = self.values.clone();
        for (key, value) in defaults.as_object().into_iter().flatten() {
            values.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Self { path: self.path.clone(), values }
    }

    /// The same but for one key.
    pub(crate) fn without(&self, key: &str) -> Self {
        let mut values = self.values.clone();
        values.remove(key);
        Self { path: self.path.clone(), values }
    }

    /// A text, if it is there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, "a string", other)),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, key: &str) -> Result<&str, ModelError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A truth value, if it is there.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(key, "a truth value", other)),
        }
    }

    /// A count, if it is there.
    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
                Some(count) => Ok(Some(count as usize)),
                None => Err(self.wrong_type(key, "an integer from 0 to 2^32 - 1", value)),
            },
        }
    }

    /// A count that must be there.
    pub(crate) fn required_count(&self, key: &str) -> Result<usize, ModelError> {
        self.count(key)?.ok_or_else(|| self.missing(key))
    }

    /// A list of counts, empty if it is not there.
    pub(crate) fn counts(&self, key: &str) -> Result<Vec<usize>, ModelError> {
        let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        Ok(self.list(key, "a list of counts", count)?.unwrap_or_default())
    }

    /// A list of texts, if it is there.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, ModelError> {
        self.list(key, "a list of strings", Value::as_str)
    }

    /// A list of numbers that must be there.
    pub(crate) fn required_numbers(&self, key: &str) -> Result<Vec<f32>, ModelError> {
        let numbers =
            self.list(key, "a list of numbers", |value| value.as_f64().map(|number| number as f32))?;
        numbers.ok_or_else(|| self.missing(key))
    }

    /// One token id or several; none if the key is not there.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<TokenId>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.map(TokenId).ok_or_else(|| self.wrong_type(key, "a token id or a list of them", value))
        };
        match value {
            Value::Array(values) => values.iter().map(id).collect(),
            single => Ok(vec![id(single)?]),
        }
    }

    /// A number, if it is there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number as f32)),
                None => Err(self.wrong_type(key, "a number", value)),
            },
        }
    }

    /// A number that must be there.
    pub(crate) fn required_number(&self, key: &str) -> Result<f32, ModelError> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// Refuses a key whose value is anything but `null` or one of `harmless`.
    pub(crate) fn refuse(&self, key: &str, harmless: &[Value]) -> Result<(), ModelError> {
        match self.get(key) {
            Some(value) if !harmless.contains(value) => {
                let supported = match harmless {
                    [] => "leave it out".to_owned(),
                    [value, ..] => format!("supported is {value}"),
                };
                Err(self.unsupported(key, value, supported))
            }
            _ => Ok(()),
        }
    }

    /// The error for a value that the decoder does not compute.
    pub(crate) fn unsupported(&self, key: &str, value: &Value, supported: String) -> ModelError {
        ModelError::Unsupported { path: self.path.clone(), feature: format!("`{key}` {value}"), supported }
    }

    /// The error for values that do not fit together.
    pub(crate) fn malformed(&self, problem: String) -> ModelError {
        ModelError::Malformed { path: self.path.clone(), problem }
    }

    /// A list, if it is there, of entries that `read` must all take.
    fn list<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let entries = value.as_array().and_then(|entries| entries.iter().map(read).collect());
        entries.map(Some).ok_or_else(|| self.wrong_type(key, expected, value))
    }

    /// A value; `null` counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn missing(&self, key: &str) -> ModelError {
        ModelError::Malformed { path: self.path.clone(), problem: format!("`{key}` is missing") }
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &Value) -> ModelError {
        let found = match found {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            plain => plain.to_string(),
        };
        ModelError::Malformed {
            path: self.path.clone(),
            problem: format!("`{key}` is {found}, expected {expected}"),
        }
    }
}
