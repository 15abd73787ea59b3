//! The checked `[[keys]]`: clients with names, known by the digests of their keys alone.

use std::sync::Arc;

use spillway_router::Privacy;

use super::ClientKey;
use super::api_keys::KnownKey;
use super::document::KeyPath;
use super::key_error::{KeyError, Problem};
use super::names::name;
use super::raw::RawKey;

/// Most keys; all are compared with each that is shown.
const MAX_KEYS: usize = 4096;
/// Digits of a digest.
const DIGEST_LEN: usize = 64;

/// Checks all of them.
pub(super) fn validate(raw: Vec<RawKey>) -> Result<Vec<KnownKey>, KeyError> {
    let section = KeyPath::section("keys");
    if raw.len() > MAX_KEYS {
        return Err(section.item(MAX_KEYS).out_of_place(format!("there may be at most {MAX_KEYS}")));
    }
    let mut keys: Vec<KnownKey> = Vec::with_capacity(raw.len());
    for (key_idx, raw) in raw.into_iter().enumerate() {
        let at = section.item(key_idx);
        let name: Arc<str> = name(raw.name, &at.key("name"))?.into();
        if let Some(first_idx) = keys.iter().position(|other| other.client.name.as_ref() == Some(&name)) {
            let first = section.item(first_idx).key("name");
            return Err(at.key("name").is(Problem::Twice { name: name.to_string(), first }));
        }
        let at_digest = at.key("sha256");
        let digest = raw.sha256.ok_or_else(|| {
            at_digest.missing(
                "give the SHA-256 of the key, which `spillway key hash` makes of the key on its input",
            )
        })?;
        let expected = "64 hexadecimal digits, the SHA-256 of a key, as `spillway key hash` prints it";
        let digest =
            digest_of(digest.reveal()).ok_or_else(|| at_digest.is(Problem::BadSecret { expected }))?;
        if let Some(first_idx) = keys.iter().position(|other| other.digest == digest) {
            let reason = format!(
                "it is the digest of {}, too, and one key cannot be two clients'",
                section.item(first_idx)
            );
            return Err(at_digest.out_of_place(reason));
        }
        let client = ClientKey { name: Some(name), privacy: raw.privacy.map(Privacy::from) };
        keys.push(KnownKey { digest, client });
    }
    Ok(keys)
}

/// Reads a digest.
fn digest_of(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != DIGEST_LEN {
        return None;
    }
    let value = |digit: u8| (digit as char).to_digit(16);
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_in_either_case() {
        let text = format!("00ff{}", "aB".repeat(30));
        let digest = digest_of(&text).expect("64 digits");
        assert_eq!((digest[0], digest[1], digest[31]), (0, 255, 0xab));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"ä".repeat(32)] {
            assert_eq!(digest_of(bad), None, "{bad}");
        }
    }
}
