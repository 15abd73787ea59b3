//! Price files: JSON, with dollars for a million tokens written as people write them.
//!
//! ```json
//! {
//!   "date": "2026-11-22",
//!   "sources": { "A": "where it was read" },
//!   "prices": [
//!     { "model": "amazon.nova-lite-v1:0", "profiles": ["", "us."], "input": 0.06, "output": 0.24, "source": "A" }
//!   ]
//! }
//! ```
//!
//! An entry stands for its model under each of its profiles' prefixes, `""` for none, which is all there is if it names
//! none. `tier` is `default` unless it says otherwise, `batch` is false. An entry with `above_prompt_tokens` tells what
//! a call costs whose prompt is longer, beside the entry for shorter ones. `date` and `source` are for people.
//!
//! Amounts never pass through a float: the text of a number is read as decimal, so that 0.00875 is exactly that.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use spillway_types::Usd;

use super::{Billing, Price, PriceKey, Rates, Tier};

/// What is wrong with a price file.
#[derive(Debug, thiserror::Error)]
pub enum PriceFileError {
    /// It is no JSON, or has other fields than these.
    #[error("the price file is not as it should be: {0}")]
    Json(#[from] serde_json::Error),

    /// A tier that does not exist.
    #[error(
        "the price of `{model}` is for the tier `{tier}`: tiers are default, priority, flex and reserved"
    )]
    UnknownTier {
        /// The entry's model.
        model: String,
        /// The word.
        tier: String,
    },

    /// An entry without any profile.
    #[error(
        "the price of `{model}` has an empty list of profiles: leave the list out, or name \"\" for the bare id"
    )]
    NoProfile {
        /// The entry's model.
        model: String,
    },

    /// Two prices for one thing.
    #[error("`{model}` has two prices for the tier `{}`{}: leave one", tier.as_str(), in_words(*billing))]
    Twice {
        /// The model, with its profile's prefix.
        model: String,
        /// The tier of both.
        tier: Tier,
        /// The billing of both.
        billing: Billing,
    },

    /// Long prompts have a price, and short ones have none.
    #[error("`{model}` has a price above {above_prompt_tokens} prompt tokens, and none below: add it")]
    OnlyLong {
        /// The model, with its profile's prefix.
        model: String,
        /// Where long prompts begin.
        above_prompt_tokens: u32,
    },
}

fn in_words(billing: Billing) -> &'static str {
    match billing {
        Billing::OnDemand => "",
        Billing::Batch => " in batches",
    }
}

/// Dollars: a JSON number whose text is read as decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dollars(Usd);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Usd::parse(text.get()).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "`{}` is no amount of dollars: write a number like 0.0088, with at most nine digits after the point",
                text.get()
            ))
        })
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    date: String,
    #[serde(default)]
    sources: HashMap<String, String>,
    prices: Vec<RawEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    model: String,
    #[serde(default = "bare")]
    profiles: Vec<String>,
    tier: Option<String>,
    #[serde(default)]
    batch: bool,
    above_prompt_tokens: Option<u32>,
    input: Dollars,
    output: Dollars,
    cache_read: Option<Dollars>,
    cache_write_5m: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    source: Option<String>,
    date: Option<String>,
}

/// The prefixes of an entry that names none.
fn bare() -> Vec<String> {
    vec![String::new()]
}

/// The prices in a file's text.
pub(super) fn read(json: &str) -> Result<HashMap<PriceKey, Price>, PriceFileError> {
    let file: RawFile = serde_json::from_str(json)?;
    let mut prices = HashMap::new();
    let (short, long): (Vec<_>, Vec<_>) =
        file.prices.iter().partition(|entry| entry.above_prompt_tokens.is_none());
    for entry in short {
        let source = entry.source.as_deref().unwrap_or("the price file");
        let source: Arc<str> = named(source, &file.sources).into();
        let date: Arc<str> = entry.date.as_ref().unwrap_or(&file.date).as_str().into();
        for key in entry.keys()? {
            let price = Price {
                rates: entry.rates(),
                long_prompt: None,
                source: Arc::clone(&source),
                date: Arc::clone(&date),
            };
            match prices.entry(key) {
                Place::Vacant(place) => drop(place.insert(price)),
                Place::Occupied(place) => return Err(twice(place.key())),
            }
        }
    }
    for entry in long {
        let above_prompt_tokens = entry.above_prompt_tokens.unwrap_or_default();
        for key in entry.keys()? {
            let Some(price) = prices.get_mut(&key) else {
                return Err(PriceFileError::OnlyLong { model: key.model, above_prompt_tokens });
            };
            if price.long_prompt.replace((above_prompt_tokens, entry.rates())).is_some() {
                return Err(twice(&key));
            }
        }
    }
    Ok(prices)
}

impl RawEntry {
    /// All that the entry tells the price of.
    fn keys(&self) -> Result<Vec<PriceKey>, PriceFileError> {
        let word = self.tier.as_deref().unwrap_or(Tier::Default.as_str());
        let tier = Tier::parse(word).ok_or_else(|| PriceFileError::UnknownTier {
            model: self.model.clone(),
            tier: word.to_owned(),
        })?;
        if self.profiles.is_empty() {
            return Err(PriceFileError::NoProfile { model: self.model.clone() });
        }
        let billing = if self.batch { Billing::Batch } else { Billing::OnDemand };
        let key = |prefix: &String| PriceKey { model: format!("{prefix}{}", self.model), tier, billing };
        Ok(self.profiles.iter().map(key).collect())
    }

    fn rates(&self) -> Rates {
        let amount = |dollars: Option<Dollars>| dollars.map(|dollars| dollars.0);
        Rates {
            input: self.input.0,
            output: self.output.0,
            cache_read: amount(self.cache_read),
            cache_write_5m: amount(self.cache_write_5m),
            cache_write_1h: amount(self.cache_write_1h),
        }
    }
}

fn twice(key: &PriceKey) -> PriceFileError {
    PriceFileError::Twice { model: key.model.clone(), tier: key.tier, billing: key.billing }
}

/// Letters that are joined by plus signs, in the words that the file has for them.
fn named(letters: &str, sources: &HashMap<String, String>) -> String {
    let words = letters.split('+').map(|letter| sources.get(letter).map_or(letter, String::as_str));
    words.collect::<Vec<_>>().join("; ")
}
