//! The keys that clients show, kept as digests only, and what is known of whoever shows one.
//!
//! Digests have one length and are compared without a branch, all of them each time: neither the time nor anything
//! that is printed tells of a key.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use spillway_router::Privacy;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::ConfigError;
use super::raw::Secret;

/// At least one key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<KnownKey>,
}

/// A key, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    /// The SHA-256 of the key.
    pub(super) digest: [u8; 32],
    /// Whose it is.
    pub(super) client: ClientKey,
}

/// What is known of whoever shows a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientKey {
    /// Its name in logs, metrics and the ledger; absent for a key without one.
    pub name: Option<Arc<str>>,
    /// What its requests are, whatever else is said of them; absent if the key says nothing.
    pub privacy: Option<Privacy>,
}

impl ApiKeys {
    /// Keys without names, and `named` ones after them; absent if there is none.
    ///
    /// # Errors
    ///
    /// [`ConfigError::BadKey`] if one could never be sent in a header.
    pub(super) fn new(keys: &[Secret], named: Vec<KnownKey>) -> Result<Option<Self>, ConfigError> {
        for (key, number) in keys.iter().zip(1..) {
            let key = key.reveal();
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::BadKey { number });
            }
        }
        let known =
            |key: &Secret| KnownKey { digest: digest(key.reveal().as_bytes()), client: ClientKey::default() };
        let keys: Vec<_> = keys.iter().map(known).chain(named).collect();
        Ok((!keys.is_empty()).then_some(Self { keys }))
    }

    /// Whose key `shown` is, if it is one; of equal keys the last.
    pub fn find(&self, shown: &[u8]) -> Option<&ClientKey> {
        let shown = digest(shown);
        // One more than the place of the key; 0 is none.
        let found = self.keys.iter().zip(1_u32..).fold(0_u32, |found, (key, number)| {
            u32::conditional_select(&found, &number, key.digest.ct_eq(&shown))
        });
        self.keys.get(found.checked_sub(1)? as usize).map(|key| &key.client)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: without keys there is no list of them.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
impl ApiKeys {
    /// One key and whose it is.
    pub(crate) fn of_one(key: &str, client: ClientKey) -> Self {
        Self { keys: vec![KnownKey { digest: digest(key.as_bytes()), client }] }
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.keys.len())
    }
}

/// What stands for a key in `[[keys]]`: its SHA-256 in hexadecimal digits.
///
/// # Errors
///
/// [`ConfigError::BadKey`] if no header could carry the key.
pub fn hash_key(key: &str) -> Result<String, ConfigError> {
    // The rules are those of any key.
    ApiKeys::new(&[Secret::from(key.to_owned())], Vec::new())?;
    let mut hash = String::with_capacity(64);
    for byte in digest(key.as_bytes()) {
        let _ = write!(hash, "{byte:02x}");
    }
    Ok(hash)
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Result<Option<ApiKeys>, ConfigError> {
        ApiKeys::new(
            &texts.iter().map(|text| Secret::from((*text).to_owned())).collect::<Vec<_>>(),
            Vec::new(),
        )
    }

    #[test]
    fn every_key_is_accepted_and_nothing_else() {
        let keys = keys(&["sk-one", "sk-two"]).expect("they are fine").expect("there are two");
        assert!(keys.find(b"sk-one").is_some() && keys.find(b"sk-two").is_some());
        for other in ["", "sk-", "sk-onE", "sk-one ", "sk-onesk-two", "sk-three"] {
            assert_eq!(keys.find(other.as_bytes()), None, "{other}");
        }
        assert_eq!(format!("{keys:?}"), "ApiKeys(2)");
    }

    #[test]
    fn a_key_tells_whose_it_is() {
        let client = |name: &str| ClientKey { name: Some(Arc::from(name)), privacy: Some(Privacy::Private) };
        let known = |key: &str, name: &str| KnownKey { digest: digest(key.as_bytes()), client: client(name) };
        let unnamed = [Secret::from("sk-one".to_owned()), Secret::from("sk-four".to_owned())];
        let named = vec![known("sk-one", "ann"), known("sk-two", "bob")];
        let keys = ApiKeys::new(&unnamed, named).expect("they are fine").expect("there are four");
        assert_eq!(keys.find(b"sk-four"), Some(&ClientKey::default()));
        assert_eq!(keys.find(b"sk-one"), Some(&client("ann")));
        assert_eq!(keys.find(b"sk-two"), Some(&client("bob")));
        assert_eq!(keys.find(b"sk-three"), None);
    }

    #[test]
    fn a_hash_stands_for_its_key() {
        // Of FIPS 180-2, appendix B.1.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_key("abc").expect("it is a key"), hash);
        assert!(hash_key("two words").is_err() && hash_key("").is_err());
    }

    #[test]
    fn a_key_that_no_header_could_carry_is_named_by_its_number_only() {
        assert_eq!(keys(&[]).expect("none is fine"), None);
        for bad in ["", "two words", "schlüssel", "line\n"] {
            let error = keys(&["sk-one", bad]).expect_err("it is no key").to_string();
            assert!(error.starts_with("API key 2 "), "{error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
