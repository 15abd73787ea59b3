//! JSON between `serde_json` and the SDK's own documents.

use aws_smithy_types::{Document, Number};
use serde_json::Value;

/// The SDK's form of a value. Its objects have no order.
pub(super) fn from_json(value: Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(value),
        Value::Number(number) => Document::Number(number_from_json(&number)),
        Value::String(text) => Document::String(text),
        Value::Array(values) => Document::Array(values.into_iter().map(from_json).collect()),
        Value::Object(map) => {
            Document::Object(map.into_iter().map(|(key, value)| (key, from_json(value))).collect())
        }
    }
}

fn number_from_json(number: &serde_json::Number) -> Number {
    if let Some(value) = number.as_u64() {
        return Number::PosInt(value);
    }
    if let Some(value) = number.as_i64() {
        return Number::NegInt(value);
    }
    // A number that is neither is a float: serde_json has no other kind.
    Number::Float(number.as_f64().unwrap_or_default())
}

/// The JSON value of a document. A number that JSON has no word for becomes null.
pub(super) fn to_json(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(*value),
        Document::Number(Number::PosInt(value)) => Value::from(*value),
        Document::Number(Number::NegInt(value)) => Value::from(*value),
        Document::Number(Number::Float(value)) => Value::from(*value),
        Document::String(text) => Value::String(text.clone()),
        Document::Array(values) => values.iter().map(to_json).collect(),
        Document::Object(map) => {
            // The map has no order, and an answer should not differ from run to run.
            let mut entries: Vec<(&String, &Document)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_as_they_went() {
        let value = json!({"a": [1, -2, 2.5, true, null, "x"], "b": {"c": 18_446_744_073_709_551_615_u64}});
        assert_eq!(to_json(&from_json(value.clone())), value);
    }
}
