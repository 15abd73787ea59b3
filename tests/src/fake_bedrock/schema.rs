//! The smallest value that a JSON schema allows: what a model without a mind answers.

use serde_json::{Map, Value, json};

/// A value of a schema; an object for one that says nothing.
pub(super) fn value_of(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!("word"),
        Some("integer") => json!(1),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => json!([value_of(&schema["items"])]),
        Some(_) | None => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let entries = properties.into_iter().map(|(key, schema)| (key, value_of(&schema)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
    }
}
