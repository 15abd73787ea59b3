//! Names that stand in headers, metrics and the ledger: short, and of letters that need no quoting anywhere.

use super::document::KeyPath;
use super::key_error::KeyError;

/// Longest name.
const MAX_NAME_LEN: usize = 64;

/// A name that must be there.
pub(super) fn name(named: Option<String>, at: &KeyPath) -> Result<String, KeyError> {
    let name =
        named.ok_or_else(|| at.missing("give it a name, which headers, logs and metrics will show"))?;
    if is_name(&name) {
        return Ok(name);
    }
    let expected = format!("1 to {MAX_NAME_LEN} letters, digits, dots, hyphens or underscores");
    // A long one would fill the screen.
    let shown: String = name.chars().take(MAX_NAME_LEN).collect();
    Err(at.out_of_range(format!("`{shown}`"), expected))
}

fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(is_inner)
}
