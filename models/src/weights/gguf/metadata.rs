//! The key-value pairs of a GGUF file, asked for by name and type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::reader::{Problem, Reader};
use crate::error::ModelError;

/// Arrays of arrays deeper than this are refused; no known key nests at all.
const MAX_DEPTH: u32 = 4;
/// Shortest pair: an empty key, a type and one byte.
pub(super) const MIN_PAIR_BYTES: usize = 13;

/// One value, with the widths of the format folded together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GgufValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts: kept apart since vocabularies are long.
    Texts(Vec<String>),
    /// Any other array.
    Array(Vec<GgufValue>),
}

/// All pairs of a file.
#[derive(Debug)]
pub(crate) struct GgufMetadata {
    path: PathBuf,
    pairs: BTreeMap<String, GgufValue>,
}

impl GgufMetadata {
    /// Reads `num_pairs` pairs.
    pub(super) fn read(path: &Path, reader: &mut Reader<'_>, num_pairs: u64) -> Result<Self, Problem> {
        let num_pairs = reader.count("metadata pairs", num_pairs, MIN_PAIR_BYTES)?;
        let mut pairs = BTreeMap::new();
        for _ in 0..num_pairs {
            let key = reader.string()?;
            let type_code = reader.u32()?;
            let value = read_value(reader, type_code, 0)
                .map_err(|Problem(problem)| Problem(format!("metadata `{key}`: {problem}")))?;
            if pairs.contains_key(&key) {
                return Err(Problem(format!("metadata `{key}` exists twice")));
            }
            pairs.insert(key, value);
        }
        Ok(Self { path: path.to_owned(), pairs })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A value, if the key is there.
    pub(crate) fn get(&self, key: &str) -> Option<&GgufValue> {
        self.pairs.get(key)
    }

    /// A text, if the key is there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, "a string", other)),
        }
    }

    /// A truth value, if the key is there.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(key, "a truth value", other)),
        }
    }

    /// A count or id, if the key is there.
    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => as_u32(value)
                .map(Some)
                .ok_or_else(|| self.wrong_type(key, "an integer from 0 to 2^32 - 1", value)),
        }
    }

    /// A number, if the key is there.
    pub(crate) fn f64(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Float(value)) => Ok(Some(*value)),
            Some(GgufValue::Unsigned(value)) => Ok(Some(*value as f64)),
            Some(other) => Err(self.wrong_type(key, "a number", other)),
        }
    }

    /// A count that must be there.
    pub(crate) fn required_u32(&self, key: &str) -> Result<u32, ModelError> {
        self.u32(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number that must be there.
    pub(crate) fn required_f64(&self, key: &str) -> Result<f64, ModelError> {
        self.f64(key)?.ok_or_else(|| self.missing(key))
    }

    /// A list of texts, empty if the key is not there.
    pub(crate) fn texts(&self, key: &str) -> Result<&[String], ModelError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(GgufValue::Texts(texts)) => Ok(texts),
            Some(other) => Err(self.wrong_type(key, "an array of strings", other)),
        }
    }

    /// A list of numbers, empty if the key is not there.
    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<f64>, ModelError> {
        let array = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(GgufValue::Array(array)) => array,
            Some(other) => return Err(self.wrong_type(key, "an array of numbers", other)),
        };
        let number = |value: &GgufValue| match value {
            GgufValue::Unsigned(value) => Ok(*value as f64),
            GgufValue::Signed(value) => Ok(*value as f64),
            GgufValue::Float(value) => Ok(*value),
            other => Err(self.wrong_type(key, "an array of numbers", other)),
        };
        array.iter().map(number).collect()
    }

    /// The error for a key that a model cannot do without.
    pub(crate) fn missing(&self, key: &str) -> ModelError {
        ModelError::Malformed { path: self.path.clone(), problem: format!("metadata `{key}` is missing") }
    }

    /// What tensors' offsets are multiples of.
    pub(super) fn alignment(&self, default: u32) -> Result<u32, Problem> {
        let key = "general.alignment";
        let Some(value) = self.get(key) else { return Ok(default) };
        as_u32(value).filter(|alignment| alignment.is_power_of_two() && *alignment <= 1 << 20).ok_or_else(
            || Problem(format!("metadata `{key}` is {value:?}, must be a power of two up to 2^20")),
        )
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &GgufValue) -> ModelError {
        let problem = format!("metadata `{key}` is {}, expected {expected}", describe(found));
        ModelError::Malformed { path: self.path.clone(), problem }
    }
}

fn as_u32(value: &GgufValue) -> Option<u32> {
    match value {
        GgufValue::Unsigned(value) => u32::try_from(*value).ok(),
        GgufValue::Signed(value) => u32::try_from(*value).ok(),
        _ => None,
    }
}

/// A value in few words: an array may be long.
fn describe(value: &GgufValue) -> String {
    match value {
        GgufValue::Unsigned(value) => value.to_string(),
        GgufValue::Signed(value) => value.to_string(),
        GgufValue::Float(value) => value.to_string(),
        GgufValue::Bool(value) => value.to_string(),
        GgufValue::Text(_) => "a string".to_owned(),
        GgufValue::Texts(texts) => format!("an array of {} strings", texts.len()),
        GgufValue::Array(array) => format!("an array of {}", array.len()),
    }
}

pub(super) fn read_value(reader: &mut Reader<'_>, type_code: u32, depth: u32) -> Result<GgufValue, Problem> {
    Ok(match type_code {
        0 => GgufValue::Unsigned(reader.array::<1>()?[0].into()),
        1 => GgufValue::Signed(reader.array().map(i8::from_le_bytes)?.into()),
        2 => GgufValue::Unsigned(reader.array().map(u16::from_le_bytes)?.into()),
        3 => GgufValue::Signed(reader.array().map(i16::from_le_bytes)?.into()),
        4 => GgufValue::Unsigned(reader.u32()?.into()),
        5 => GgufValue::Signed(reader.array().map(i32::from_le_bytes)?.into()),
        6 => GgufValue::Float(reader.array().map(f32::from_le_bytes)?.into()),
        7 => GgufValue::Bool(reader.array::<1>()?[0] != 0),
        8 => GgufValue::Text(reader.string()?),
        9 => read_array(reader, depth + 1)?,
        10 => GgufValue::Unsigned(reader.u64()?),
        11 => GgufValue::Signed(reader.array().map(i64::from_le_bytes)?),
        12 => GgufValue::Float(reader.array().map(f64::from_le_bytes)?),
        code => return Err(Problem(format!("value type {code} is unknown"))),
    })
}

fn read_array(reader: &mut Reader<'_>, depth: u32) -> Result<GgufValue, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem(format!("arrays nest deeper than {MAX_DEPTH}")));
    }
    let type_code = reader.u32()?;
    let count = reader.u64()?;
    let min_bytes = match type_code {
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => 1,
    };
    let count = reader.count("array entries", count, min_bytes)?;
    if type_code == 8 {
        let texts = (0..count).map(|_| reader.string()).collect::<Result<_, _>>()?;
        return Ok(GgufValue::Texts(texts));
    }
    // Growing step by step would take up to three times the memory in the end.
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read_value(reader, type_code, depth)?);
    }
    Ok(GgufValue::Array(values))
}
