//! What a request says of its route in headers, and whose key it shows.
//!
//! Everything is checked: a word that nobody knows, or a header that stands twice, is refused, since a label that was
//! overlooked would let private text leave.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use spillway_router::Privacy;
use spillway_types::Usd;

use crate::config::ClientKey;
use crate::http::error::ApiError;
use crate::http::generation::RequestName;
use crate::http::request_error::RequestError;

const PRIVACY: &str = "x-spillway-privacy";
const MAX_COST: &str = "x-spillway-max-cost-usd";
const SLO_TTFT: &str = "x-spillway-slo-ttft-ms";
const SESSION: &str = "x-spillway-session";
const TAGS: &str = "x-spillway-tags";

/// Longest name of a session.
const MAX_SESSION_BYTES: usize = 256;
/// Most tags, and the longest one.
const MAX_TAGS: usize = 16;
const MAX_TAG_BYTES: usize = 64;
/// Longest goal for the time to the first token: an hour.
const MAX_SLO_TTFT_MS: u64 = 3_600_000;

/// Who asks, and what is said of the route beside the body.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) name: RequestName,
    pub(crate) key: ClientKey,
    pub(crate) wishes: Wishes,
}

/// What a request's headers say of its route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) privacy: Option<Privacy>,
    pub(crate) max_cost: Option<Usd>,
    pub(crate) slo_ttft: Option<Duration>,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) tags: Vec<Arc<str>>,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let missing = |what: &str| ApiError::internal(format!("a request came without {what}"));
        let name = parts.extensions.get::<RequestName>().ok_or_else(|| missing("a name"))?;
        let key = parts.extensions.get::<ClientKey>().ok_or_else(|| missing("its check of keys"))?;
        Ok(Self { name: name.clone(), key: key.clone(), wishes: Wishes::read(&parts.headers)? })
    }
}

impl Wishes {
    fn read(headers: &HeaderMap) -> Result<Self, RequestError> {
        let single = |name| single(headers, name);
        Ok(Self {
            privacy: single(PRIVACY)?.map(privacy).transpose()?,
            max_cost: single(MAX_COST)?.map(max_cost).transpose()?,
            slo_ttft: single(SLO_TTFT)?.map(slo_ttft).transpose()?,
            session: single(SESSION)?.map(session).transpose()?,
            tags: single(TAGS)?.map(tags).transpose()?.unwrap_or_default(),
        })
    }
}

/// The value of a header that may stand once.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, RequestError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(RequestError::invalid(name, format!("{name} stands twice: send it once")));
    }
    let text =
        value.to_str().map_err(|_| RequestError::invalid(name, format!("{name} must be ASCII text")))?;
    Ok(Some(text.trim()))
}

fn privacy(word: &str) -> Result<Privacy, RequestError> {
    Privacy::parse(word).ok_or_else(|| {
        let known = [Privacy::Private, Privacy::Standard].map(Privacy::as_str).join(" or ");
        RequestError::invalid(PRIVACY, format!("{PRIVACY} is {word:?}, must be {known}"))
    })
}

fn max_cost(text: &str) -> Result<Usd, RequestError> {
    Usd::parse(text).ok_or_else(|| {
        let message = format!(
            "{MAX_COST} is {text:?}, must be dollars as in 0.05, with at most 9 digits after the point"
        );
        RequestError::invalid(MAX_COST, message)
    })
}

fn slo_ttft(text: &str) -> Result<Duration, RequestError> {
    let millis = text.parse().ok().filter(|millis| (1..=MAX_SLO_TTFT_MS).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| {
        let message =
            format!("{SLO_TTFT} is {text:?}, must be a number of milliseconds from 1 to {MAX_SLO_TTFT_MS}");
        RequestError::invalid(SLO_TTFT, message)
    })
}

fn session(text: &str) -> Result<Arc<str>, RequestError> {
    if (1..=MAX_SESSION_BYTES).contains(&text.len()) {
        return Ok(Arc::from(text));
    }
    let message = format!("{SESSION} has {} bytes, must be from 1 to {MAX_SESSION_BYTES}", text.len());
    Err(RequestError::invalid(SESSION, message))
}

fn tags(text: &str) -> Result<Vec<Arc<str>>, RequestError> {
    let tags: Vec<&str> = text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    if tags.len() > MAX_TAGS {
        let message = format!("{TAGS} has {} tags, limit {MAX_TAGS}", tags.len());
        return Err(RequestError::invalid(TAGS, message));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.len() > MAX_TAG_BYTES) {
        let message = format!("{TAGS} has a tag of {} bytes, limit {MAX_TAG_BYTES}", tag.len());
        return Err(RequestError::invalid(TAGS, message));
    }
    Ok(tags.into_iter().map(Arc::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Wishes, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header's value"));
        }
        Wishes::read(&map).map_err(|error| error.to_string())
    }

    #[test]
    fn headers_say_what_the_client_wishes() {
        assert_eq!(read(&[]), Ok(Wishes::default()));
        let wishes = read(&[
            (PRIVACY, "Private"),
            (MAX_COST, "0.05"),
            (SLO_TTFT, "250"),
            (SESSION, "ward 7"),
            (TAGS, "law, tax ,"),
        ]);
        let expected = Wishes {
            privacy: Some(Privacy::Private),
            max_cost: Some(Usd::from_nanos(50_000_000)),
            slo_ttft: Some(Duration::from_millis(250)),
            session: Some(Arc::from("ward 7")),
            tags: vec![Arc::from("law"), Arc::from("tax")],
        };
        assert_eq!(wishes, Ok(expected));
    }

    #[test]
    fn a_label_that_cannot_be_read_is_refused_with_both_words() {
        let expected = "x-spillway-privacy is \"secret\", must be private or standard";
        assert_eq!(read(&[(PRIVACY, "secret")]), Err(expected.to_owned()));
        for headers in
            [[(PRIVACY, "standard"), (PRIVACY, "private")], [(PRIVACY, "private"), (PRIVACY, "private")]]
        {
            assert_eq!(read(&headers), Err("x-spillway-privacy stands twice: send it once".to_owned()));
        }
        assert!(read(&[(PRIVACY, "standard, private")]).is_err());
    }

    #[test]
    fn values_out_of_range_say_value_and_limit() {
        let long = "x".repeat(257);
        let many = "a,".repeat(17);
        for (name, value, part) in [
            (MAX_COST, "-1", "\"-1\", must be dollars"),
            (MAX_COST, "5 USD", "must be dollars"),
            (SLO_TTFT, "0", "from 1 to 3600000"),
            (SLO_TTFT, "1s", "\"1s\", must be a number of milliseconds"),
            (SESSION, "", "0 bytes, must be from 1 to 256"),
            (SESSION, &long, "257 bytes"),
            (TAGS, &many, "17 tags, limit 16"),
            (TAGS, &long, "257 bytes, limit 64"),
        ] {
            let message = read(&[(name, value)]).expect_err("out of range");
            assert!(message.starts_with(name) && message.contains(part), "{message}");
        }
    }
}
