//! Jinja as Hugging Face runs it.
//!
//! minijinja differs from Python's Jinja in what it prints and which methods values have. Chat templates rely
//! on the Python side: blocks are trimmed, `tojson` writes `json.dumps`'s form and escapes no HTML, strings
//! have Python's methods, `True` and `None` are printed so, and `raise_exception` and `strftime_now` exist.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use minijinja_contrib::pycompat;

use super::{Timestamp, json, python_text};
use crate::error::TextError;

/// Name of the only template in an environment.
const TEMPLATE: &str = "chat_template";

/// The words of a template that refused a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// Compiles a chat template.
pub(super) fn compile(source: &str) -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(print);
    environment.set_unknown_method_callback(call_method);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("trim", |text: String| python_text::strip(&text, None).to_owned());
    environment.add_filter("string", |value: Value| python_text::str(&value));
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    environment.add_function("raise_exception", raise_exception);
    environment
        .add_template_owned(TEMPLATE, without_generation_blocks(source))
        .map_err(|source| TextError::TemplateSyntax { source })?;
    Ok(environment)
}

/// Renders the compiled template.
pub(super) fn render(environment: &Environment<'_>, variables: Value) -> Result<String, TextError> {
    let rendered = environment.get_template(TEMPLATE).and_then(|template| template.render(variables));
    rendered.map_err(|source| match raised(&source) {
        Some(message) => TextError::TemplateRaised { message },
        None => TextError::TemplateFailed { source },
    })
}

/// The function `strftime_now` at a given time.
pub(super) fn strftime_now(now: Timestamp) -> Value {
    Value::from_function(move |format: &str| {
        now.strftime(format).map_err(|directive| {
            let message = format!("strftime_now does not know the directive `%{directive}`");
            Error::new(ErrorKind::InvalidOperation, message)
        })
    })
}

/// `{% generation %}` blocks mark what to train on. Here they are blocks that are always rendered.
fn without_generation_blocks(source: &str) -> String {
    let mut rest = source;
    let mut cleaned = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        cleaned.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + "%}".len());
        let (tag, after) = tag.split_at(end);
        match tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']).trim() {
            "generation" => cleaned.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => cleaned.push_str(&tag.replace("endgeneration", "endif")),
            _ => cleaned.push_str(tag),
        }
        rest = after;
    }
    cleaned.push_str(rest);
    cleaned
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

fn raised(error: &Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        cause = error.source();
    }
    None
}

/// Prints a value as Python's `str` does.
fn print(output: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String => minijinja::escape_formatter(output, state, value),
        _ => output.write_str(&python_text::str(value)).map_err(Error::from),
    }
}

/// The methods of Python's strings and mappings.
fn call_method(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let characters =
            || -> Result<Option<&str>, Error> { Ok(minijinja::value::from_args::<(Option<&str>,)>(args)?.0) };
        match method {
            "strip" => return Ok(Value::from(python_text::strip(text, characters()?))),
            "lstrip" => return Ok(Value::from(python_text::lstrip(text, characters()?))),
            "rstrip" => return Ok(Value::from(python_text::rstrip(text, characters()?))),
            _ => {}
        }
    }
    pycompat::unknown_method_callback(state, value, method, args)
}
