//! Checks the parts of a message: their types, their fields, the types of these; each by its path.
//!
//! Serde reads parts behind an untagged choice, which would forget where a complaint belongs. So all that could be
//! complained of is looked for here.

use serde_json::{Map, Value};

use super::join;
use crate::http::request_error::RequestError;

/// Refuses a part that is none, by the path of what is wrong with it.
pub(super) fn check(path: &str, part: &Value) -> Result<(), RequestError> {
    let part = object(path, part)?;
    match required(path, part, "type")?.as_str() {
        Some("text") => {
            text(path, part, "text")?;
            only(path, part, &["type", "text"])
        }
        Some("image_url") => {
            let inner_path = join(path, "image_url");
            let image = object(&inner_path, required(path, part, "image_url")?)?;
            text(&inner_path, image, "url")?;
            detail(&join(&inner_path, "detail"), image.get("detail"))?;
            only(&inner_path, image, &["url", "detail"])?;
            only(path, part, &["type", "image_url"])
        }
        _ => {
            let kind = &part["type"];
            let message =
                format!("part of type {kind} is not supported, only \"text\" and \"image_url\" are");
            Err(RequestError::invalid(path, message))
        }
    }
}

/// How closely to look is the model's choice: nobody behind this server can be told.
fn detail(path: &str, detail: Option<&Value>) -> Result<(), RequestError> {
    match detail {
        None | Some(Value::Null) => Ok(()),
        Some(detail) if detail == "auto" => Ok(()),
        Some(detail) => {
            let message = format!("`{path}` is {detail}, only \"auto\" is supported: leave it out");
            Err(RequestError::invalid(path, message))
        }
    }
}

fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, RequestError> {
    value.as_object().ok_or_else(|| RequestError::NotAnObject { what: format!("`{path}`") })
}

fn required<'a>(path: &str, object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, RequestError> {
    object.get(name).ok_or_else(|| RequestError::Missing { param: join(path, name) })
}

fn text(path: &str, object: &Map<String, Value>, name: &str) -> Result<(), RequestError> {
    if required(path, object, name)?.is_string() {
        return Ok(());
    }
    Err(RequestError::WrongType { param: join(path, name), message: "must be a string".to_owned() })
}

fn only(path: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), RequestError> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(RequestError::UnknownField { param: join(path, name) }),
        None => Ok(()),
    }
}
