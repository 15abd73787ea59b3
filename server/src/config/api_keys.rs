//! The keys that clients show, kept as digests only.
//!
//! Digests have one length and are compared without a branch, all of them each time: neither the time nor anything
//! that is printed tells of a key.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::ConfigError;
use super::raw::Secret;

/// At least one key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeys {
    digests: Vec<[u8; 32]>,
}

impl ApiKeys {
    /// The keys, if there are any.
    ///
    /// # Errors
    ///
    /// [`ConfigError::BadKey`] if one could never be sent in a header.
    pub(super) fn new(keys: &[Secret]) -> Result<Option<Self>, ConfigError> {
        for (key, number) in keys.iter().zip(1..) {
            let key = key.reveal();
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::BadKey { number });
            }
        }
        let digests: Vec<_> = keys.iter().map(|key| digest(key.reveal().as_bytes())).collect();
        Ok((!digests.is_empty()).then_some(Self { digests }))
    }

    /// Whether `shown` is one of the keys.
    pub fn accept(&self, shown: &[u8]) -> bool {
        let shown = digest(shown);
        let is_key = |found: Choice, key: &[u8; 32]| found | key.ct_eq(&shown);
        self.digests.iter().fold(Choice::from(0), is_key).into()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Never: without keys there is no list of them.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Result<Option<ApiKeys>, ConfigError> {
        ApiKeys::new(&texts.iter().map(|text| Secret::from((*text).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn every_key_is_accepted_and_nothing_else() {
        let keys = keys(&["sk-one", "sk-two"]).expect("they are fine").expect("there are two");
        assert!(keys.accept(b"sk-one") && keys.accept(b"sk-two"));
        for other in ["", "sk-", "sk-onE", "sk-one ", "sk-onesk-two", "sk-three"] {
            assert!(!keys.accept(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{keys:?}"), "ApiKeys(2)");
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
