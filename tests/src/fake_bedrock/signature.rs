//! Checks who asks: AWS's signature, version 4, computed anew, or an API key.
//!
//! Source: AWS's own description of the signing process. Nothing of the SDK is used, so that both sides cannot be wrong
//! in the same way.

use sha2::{Digest, Sha256};

use super::FakeBedrock;
use super::http::Request;
use super::refusal::Refusal;

/// Bytes that HMAC pads a key to, for SHA-256.
const BLOCK_BYTES: usize = 64;

/// What is wrong with who asks.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    let refused = |kind| Refusal::named(kind).expect("it is a kind");
    let authorization = request.header("authorization").ok_or(refused("unknown-key"))?;
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return if token == FakeBedrock::BEARER_TOKEN { Ok(()) } else { Err(refused("unknown-key")) };
    }
    if request.header("x-amz-security-token") == Some(FakeBedrock::EXPIRED_SESSION_TOKEN) {
        return Err(refused("expired"));
    }
    let signed = Signed::parse(authorization).ok_or(refused("wrong-signature"))?;
    if signed.scope.first() != Some(&FakeBedrock::ACCESS_KEY_ID) {
        return Err(refused("unknown-key"));
    }
    match signature(request, &signed) {
        Some(expected) if expected == signed.signature => Ok(()),
        Some(_) | None => Err(refused("wrong-signature")),
    }
}

/// The parts of an `Authorization` header.
struct Signed<'a> {
    /// Key, date, region, service and the last word.
    scope: Vec<&'a str>,
    headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn parse(authorization: &'a str) -> Option<Self> {
        let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name));
        Some(Self {
            scope: part("Credential=")?.split('/').collect(),
            headers: part("SignedHeaders=")?.split(';').collect(),
            signature: part("Signature=")?,
        })
    }
}

/// The signature that the request should have.
fn signature(request: &Request, signed: &Signed<'_>) -> Option<String> {
    let [_, date, region, "bedrock", "aws4_request"] = signed.scope[..] else { return None };
    let time = request.header("x-amz-date").filter(|time| time.starts_with(date))?;
    if !["host", "x-amz-date"].iter().all(|name| signed.headers.contains(name)) {
        return None;
    }
    let mut headers = String::new();
    for name in &signed.headers {
        let value = request.header(name)?.split_whitespace().collect::<Vec<_>>().join(" ");
        headers.extend([name, ":", &value, "\n"]);
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let canonical = format!(
        "{}\n{}\n{query}\n{headers}\n{}\n{}",
        request.method,
        encoded(path),
        signed.headers.join(";"),
        hex(&Sha256::digest(&request.body))
    );
    let scope = format!("{date}/{region}/bedrock/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", FakeBedrock::SECRET_ACCESS_KEY);
    let mut key = secret.into_bytes();
    for part in [date, region, "bedrock", "aws4_request", &to_sign] {
        key = hmac(&key, part.as_bytes());
    }
    Some(hex(&key))
}

/// The path with everything escaped once more, as all services but S3 sign it.
fn encoded(path: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/');
    let escape =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(escape).collect()
}

/// HMAC by SHA-256: RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).expect("it is below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
