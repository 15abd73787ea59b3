//! Reads the metadata of a GGUF file, so that vocabularies can be tested without the crate that loads
//! weights.

use std::collections::HashMap;

use serde_json::Value;
use spillway_text::{GgufVocabulary, TokenType};
use spillway_types::TokenId;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().expect("the file goes on");
        self.0 = rest;
        *bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn string(&mut self) -> String {
        let len = self.u64() as usize;
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).expect("GGUF strings are UTF-8")
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 => u8::from_le_bytes(self.bytes()).into(),
            1 => i8::from_le_bytes(self.bytes()).into(),
            2 => u16::from_le_bytes(self.bytes()).into(),
            3 => i16::from_le_bytes(self.bytes()).into(),
            4 => self.u32().into(),
            5 => i32::from_le_bytes(self.bytes()).into(),
            6 => f32::from_le_bytes(self.bytes()).into(),
            7 => (self.bytes::<1>()[0] != 0).into(),
            8 => self.string().into(),
            9 => {
                let kind = self.u32();
                let len = self.u64();
                (0..len).map(|_| self.value(kind)).collect()
            }
            10 => self.u64().into(),
            11 => i64::from_le_bytes(self.bytes()).into(),
            12 => f64::from_le_bytes(self.bytes()).into(),
            _ => panic!("GGUF has no value type {kind}"),
        }
    }
}

/// The metadata of a GGUF file, by key.
pub(crate) fn read(file: &[u8]) -> HashMap<String, Value> {
    let mut reader = Reader(file);
    assert_eq!(&reader.bytes(), b"GGUF");
    assert_eq!(reader.u32(), 3, "the version");
    reader.u64();
    let num_keys = reader.u64();
    let mut pairs = HashMap::new();
    for _ in 0..num_keys {
        let key = reader.string();
        let kind = reader.u32();
        pairs.insert(key, reader.value(kind));
    }
    pairs
}

/// The vocabulary among the metadata.
pub(crate) fn vocabulary(metadata: &HashMap<String, Value>) -> GgufVocabulary {
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let strings = |key: &str| {
        let list = get(key).and_then(Value::as_array).into_iter().flatten();
        list.map(|text| text.as_str().expect("a string").to_owned()).collect()
    };
    let numbers = |key: &str| get(key).and_then(Value::as_array).into_iter().flatten();
    let token = |key: &str| get(key).and_then(Value::as_u64).map(|id| TokenId(id as u32));
    let flag = |key: &str| get(key).and_then(Value::as_bool);
    let token_type = |number: &Value| TokenType::from_gguf(number.as_i64().expect("an integer") as i32);
    GgufVocabulary {
        model: get("model").and_then(Value::as_str).expect("a model").to_owned(),
        pre: get("pre").and_then(Value::as_str).map(str::to_owned),
        tokens: strings("tokens"),
        token_types: numbers("token_type").map(|number| token_type(number).expect("a type")).collect(),
        merges: strings("merges"),
        scores: numbers("scores").map(|score| score.as_f64().expect("a float") as f32).collect(),
        bos: token("bos_token_id"),
        eos: token("eos_token_id"),
        unk: token("unknown_token_id"),
        pad: token("padding_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
    }
}
