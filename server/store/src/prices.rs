//! What models cost: a dated table that is shipped in the binary, and whatever the operator's own file adds to it.
//!
//! A price belongs to a model *as it is called*: through an inference profile or not, in a tier of service, at once or
//! in a batch. The regional profiles of the newer models cost a tenth more than the global ones, so a profile's price is
//! never taken from its model's.
//!
//! A price that is not in the table is absent, and never nothing: a backend that costs money does not start without one.

mod file;

use std::collections::HashMap;
use std::sync::Arc;

use spillway_types::{LongPromptPrices, TokenPrices, Usd};

pub use file::PriceFileError;

/// The table that was true when this program was made.
const SHIPPED: &str = include_str!("../prices/bedrock-2026-11.json");

/// Known prices by model and by how it is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    prices: HashMap<PriceKey, Price>,
}

/// How a model is called: what a price belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PriceKey {
    /// The model's id, with the prefix of its inference profile if it has one; or an ARN of either.
    pub model: String,
    /// The tier of service.
    pub tier: Tier,
    /// Whether calls are made at once or in batches.
    pub billing: Billing,
}

/// A tier of Bedrock's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tier {
    /// The usual one.
    #[default]
    Default,
    /// Sooner, and dearer.
    Priority,
    /// Later, and cheaper.
    Flex,
    /// What was bought in advance.
    Reserved,
}

/// How calls are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Billing {
    /// One by one, answered at once.
    #[default]
    OnDemand,
    /// Many in a file, answered within a day.
    Batch,
}

/// How long a provider keeps what is written to its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheTtl {
    /// Five minutes after its last use.
    #[default]
    FiveMinutes,
    /// An hour after its last use.
    OneHour,
}

/// A known price, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    rates: Rates,
    long_prompt: Option<(u32, Rates)>,
    source: Arc<str>,
    date: Arc<str>,
}

/// Dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rates {
    input: Usd,
    output: Usd,
    cache_read: Option<Usd>,
    cache_write_5m: Option<Usd>,
    cache_write_1h: Option<Usd>,
}

impl PriceTable {
    /// The table that is shipped with the program.
    pub fn shipped() -> Self {
        Self::default().with_file(SHIPPED).expect("a test reads the shipped table")
    }

    /// Adds the prices of a file's text, each in the place of what was known of the same model in the same tier and
    /// billing.
    ///
    /// # Errors
    ///
    /// [`PriceFileError`] says what is wrong with the file, and where.
    pub fn with_file(mut self, json: &str) -> Result<Self, PriceFileError> {
        self.prices.extend(file::read(json)?);
        Ok(self)
    }

    /// What calls of a kind cost, if that is known. An ARN of a foundation model or of an inference profile has the
    /// price of the id in it, unless the table knows the ARN itself.
    pub fn find(&self, key: &PriceKey) -> Option<&Price> {
        self.prices.get(key).or_else(|| {
            let model = id_in_arn(&key.model)?.to_owned();
            self.prices.get(&PriceKey { model, ..key.clone() })
        })
    }
}

impl PriceKey {
    /// Calls of a model in the usual tier, one by one.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), tier: Tier::default(), billing: Billing::default() }
    }
}

impl Tier {
    /// Bedrock's word, which is that of price files and of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Reserved => "reserved",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Default, Self::Priority, Self::Flex, Self::Reserved]
            .into_iter()
            .find(|tier| tier.as_str() == word)
    }
}

impl Price {
    /// The price of tokens, where the cache keeps what is written to it for so long. If only the price of five minutes
    /// is known, an hour costs the same here.
    pub fn tokens(&self, cache_ttl: CacheTtl) -> TokenPrices {
        let Rates { input, output, cache_read, .. } = self.rates;
        TokenPrices {
            input,
            output,
            cache_read,
            cache_write: self.rates.cache_write(cache_ttl),
            long_prompt: self.long_prompt.map(|(above_tokens, long)| LongPromptPrices {
                above_tokens,
                input: long.input,
                output: long.output,
                cache_read: long.cache_read,
                cache_write: long.cache_write(cache_ttl),
            }),
        }
    }

    /// Who says so, in the words of the file.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// When it was so, as `2026-11-22`.
    pub fn date(&self) -> &str {
        &self.date
    }
}

impl Rates {
    fn cache_write(&self, cache_ttl: CacheTtl) -> Option<Usd> {
        match cache_ttl {
            CacheTtl::FiveMinutes => self.cache_write_5m,
            CacheTtl::OneHour => self.cache_write_1h.or(self.cache_write_5m),
        }
    }
}

/// The id in `arn:PARTITION:bedrock:REGION:ACCOUNT:KIND/ID`, for the kinds that name a model or a profile of AWS's own.
fn id_in_arn(model: &str) -> Option<&str> {
    // An id may have a colon itself, so what follows the fifth is one piece.
    let mut parts = model.splitn(6, ':');
    let (arn, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let (kind, id) = resource.split_once('/')?;
    let is_model = matches!(kind, "foundation-model" | "inference-profile");
    (arn == "arn" && service == "bedrock" && is_model).then_some(id)
}

#[cfg(test)]
mod tests;
