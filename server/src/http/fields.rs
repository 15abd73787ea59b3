//! Applies the table of fields: what is not honoured is refused by name, what was not asked for is taken out.

mod parts;

use serde_json::{Map, Value};
use spillway_api::fields::{Field, Object, Support, find};

use crate::http::params::check_num_messages;
use crate::http::request_error::RequestError;

/// Checks a body with all objects inside it, and takes out the fields that ask for nothing.
pub(crate) fn check(object: Object, fields: &mut Map<String, Value>) -> Result<(), RequestError> {
    check_object(object, "", fields)?;
    if let Some(Value::Array(messages)) = fields.get_mut("messages") {
        check_num_messages(messages.len())?;
        for (message, index) in messages.iter_mut().zip(0_usize..) {
            check_message(&format!("messages[{index}]"), message)?;
        }
    }
    if let Some(Value::Object(options)) = fields.get_mut("stream_options") {
        check_object(Object::StreamOptions, "stream_options", options)?;
    }
    Ok(())
}

fn check_message(path: &str, message: &mut Value) -> Result<(), RequestError> {
    let Value::Object(fields) = message else {
        return Err(RequestError::NotAnObject { what: format!("`{path}`") });
    };
    check_object(Object::Message, path, fields)?;
    // An assistant that calls tools may say nothing.
    let may_be_silent = fields.contains_key("tool_calls");
    for (required, may_be_absent) in [("role", false), ("content", may_be_silent)] {
        if !may_be_absent && !fields.contains_key(required) {
            return Err(RequestError::Missing { param: join(path, required) });
        }
    }
    let Some(Value::Array(parts)) = fields.get("content") else { return Ok(()) };
    for (part, index) in parts.iter().zip(0_usize..) {
        parts::check(&format!("{path}.content[{index}]"), part)?;
    }
    Ok(())
}

fn check_object(object: Object, path: &str, fields: &mut Map<String, Value>) -> Result<(), RequestError> {
    let mut not_asked = Vec::new();
    for (name, value) in fields.iter() {
        let Some(field) = find(object, name) else {
            return Err(RequestError::UnknownField { param: join(path, name) });
        };
        match (asks_for_nothing(field, value), field.support) {
            (true, _) => not_asked.push(name.clone()),
            (false, Support::Honoured | Support::WhereOffered) => {}
            (false, Support::Refused) => {
                let or_default = match field.not_asked.first() {
                    Some(value) => format!(" or send {value}"),
                    None => String::new(),
                };
                return Err(RequestError::UnsupportedField { param: join(path, name), or_default });
            }
        }
    }
    for name in not_asked {
        fields.remove(&name);
    }
    Ok(())
}

fn asks_for_nothing(field: &Field, value: &Value) -> bool {
    value.is_null()
        || field.not_asked.iter().any(|text| {
            let not_asked: Value =
                serde_json::from_str(text).expect("a test of the table parses every value");
            equal(&not_asked, value)
        })
}

/// Equality of JSON, where `0` and `0.0` are the same number.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
