//! Writes small GGUF files for tests.

use super::metadata::GgufValue;

/// A file in the making.
#[derive(Default)]
pub(crate) struct GgufWriter {
    pairs: Vec<(String, GgufValue)>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

impl GgufWriter {
    pub(crate) fn pair(mut self, key: &str, value: GgufValue) -> Self {
        self.pairs.push((key.to_owned(), value));
        self
    }

    /// Adds a tensor, outermost dimension first.
    pub(crate) fn tensor(mut self, name: &str, shape: &[usize], type_code: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), type_code, bytes));
        self
    }

    /// The whole file, version 3.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            put_text(&mut out, key);
            out.extend(type_code(value).to_le_bytes());
            put_value(&mut out, value);
        }
        let mut offset = 0_u64;
        for (name, shape, type_code, bytes) in &self.tensors {
            put_text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            for &size in shape.iter().rev() {
                out.extend((size as u64).to_le_bytes());
            }
            out.extend(type_code.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += bytes.len().next_multiple_of(32) as u64;
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }
}

fn type_code(value: &GgufValue) -> u32 {
    match value {
        GgufValue::Unsigned(_) => 10,
        GgufValue::Signed(_) => 11,
        GgufValue::Float(_) => 12,
        GgufValue::Bool(_) => 7,
        GgufValue::Text(_) => 8,
        GgufValue::Texts(_) | GgufValue::Array(_) => 9,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &GgufValue) {
    match value {
        GgufValue::Unsigned(value) => out.extend(value.to_le_bytes()),
        GgufValue::Signed(value) => out.extend(value.to_le_bytes()),
        GgufValue::Float(value) => out.extend(value.to_le_bytes()),
        GgufValue::Bool(value) => out.push(u8::from(*value)),
        GgufValue::Text(text) => put_text(out, text),
        GgufValue::Texts(texts) => {
            out.extend(8_u32.to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            for text in texts {
                put_text(out, text);
            }
        }
        GgufValue::Array(values) => {
            out.extend(values.first().map_or(0, type_code).to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            for value in values {
                put_value(out, value);
            }
        }
    }
}
