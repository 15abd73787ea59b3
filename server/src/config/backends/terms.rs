//! What all remote backends have in common: limits, prices, patience.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use spillway_router::Boundary;
use spillway_store::PriceKey;
use spillway_types::{ModelId, TokenPrices};

use super::{BackendContext, FeatureChanges, features};
use crate::config::TimeSpan;
use crate::config::document::KeyPath;
use crate::config::dollars::Dollars;
use crate::config::key_error::{KeyError, Problem};
use crate::config::prices::{self, PriceOrigin};
use crate::config::raw::{RawBackend, RawPrice};

/// How much a remote backend takes, what it costs, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTerms {
    /// Most tokens of prompt and answer together, if that is known.
    pub context_tokens: Option<NonZeroU32>,
    /// Most tokens of an answer, if that is known; at most `context_tokens`.
    pub max_output_tokens: Option<NonZeroU32>,
    /// What its tokens cost.
    pub prices: TokenPrices,
    /// Who says so.
    pub price_origin: PriceOrigin,
    /// Tokens a minute that the provider lets through.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// What it offers.
    pub features: FeatureChanges,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How long a remote backend may take; none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From the request to its first token.
    pub first_token: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// From the request to its last token; at least `first_token`.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            // Models that think before they speak send nothing for long.
            first_token: Duration::from_mins(2),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(15),
        }
    }
}

/// Checks what is common.
pub(super) fn validate(
    raw: &mut RawBackend,
    boundary: Boundary,
    model: &PriceKey,
    at: &KeyPath,
    context: &BackendContext<'_>,
) -> Result<RemoteTerms, KeyError> {
    if let (Some(tokens), Some(limit)) = (raw.max_output_tokens, raw.context_tokens) {
        at_most(tokens, limit, "context_tokens", &at.key("max_output_tokens"))?;
    }
    let (prices, price_origin) = prices(raw.price, boundary, model, at, context)?;
    Ok(RemoteTerms {
        context_tokens: raw.context_tokens,
        max_output_tokens: raw.max_output_tokens,
        prices,
        price_origin,
        tokens_per_minute: raw.tokens_per_minute,
        features: features::validate(raw.features.take(), raw.features_off.take(), at)?,
        timeouts: timeouts(raw, at)?,
    })
}

/// A count that another key limits.
pub(super) fn at_most(
    tokens: NonZeroU32,
    limit: NonZeroU32,
    limit_key: &str,
    at: &KeyPath,
) -> Result<(), KeyError> {
    if tokens > limit {
        return Err(at.out_of_range(tokens, format!("at most {limit_key}, which is {limit}")));
    }
    Ok(())
}

/// What the file says, else what the table says. What is inside and has neither is free.
fn prices(
    said: Option<RawPrice>,
    boundary: Boundary,
    model: &PriceKey,
    at: &KeyPath,
    context: &BackendContext<'_>,
) -> Result<(TokenPrices, PriceOrigin), KeyError> {
    let Some(said) = said else {
        return match (prices::find(context.prices, model), boundary) {
            (Some(known), _) => Ok(known),
            (None, Boundary::Inside) => Ok((TokenPrices::default(), PriceOrigin::Free)),
            (None, Boundary::Outside) => {
                Err(at.key("model").is(Problem::NoPrice { model: model.model.clone() }))
            }
        };
    };
    let at = at.key("price");
    let needed = |price: Option<Dollars>, key| {
        let mend = "give dollars for a million tokens, and 0 if they are free";
        price.map(|dollars| dollars.0).ok_or_else(|| at.key(key).missing(mend))
    };
    let prices = TokenPrices {
        input: needed(said.input, "input")?,
        output: needed(said.output, "output")?,
        cache_read: said.cache_read.map(|dollars| dollars.0),
        cache_write: said.cache_write.map(|dollars| dollars.0),
        long_prompt: None,
    };
    Ok((prices, PriceOrigin::Config))
}

fn timeouts(raw: &RawBackend, at: &KeyPath) -> Result<Timeouts, KeyError> {
    let default = Timeouts::default();
    let checked = |span: Option<TimeSpan>, default, key: &str| {
        span.map_or(Ok(default), |span| at.key(key).positive(span))
    };
    let timeouts = Timeouts {
        connect: checked(raw.connect_timeout, default.connect, "connect_timeout")?,
        first_token: checked(raw.first_token_timeout, default.first_token, "first_token_timeout")?,
        idle: checked(raw.idle_timeout, default.idle, "idle_timeout")?,
        total: checked(raw.total_timeout, default.total, "total_timeout")?,
    };
    if timeouts.total < timeouts.first_token {
        let key = if raw.total_timeout.is_some() { "total_timeout" } else { "first_token_timeout" };
        let (total, first) = (TimeSpan::from(timeouts.total), TimeSpan::from(timeouts.first_token));
        let expected = format!("such that total_timeout ({total}) is at least first_token_timeout ({first})");
        return Err(at.key(key).out_of_range(if key == "total_timeout" { total } else { first }, expected));
    }
    Ok(timeouts)
}

/// The name of a remote model.
pub(super) fn model(named: Option<String>, example: &str, at: &KeyPath) -> Result<ModelId, KeyError> {
    let at = at.key("model");
    match named {
        None => Err(at.missing(format!("name the model that answers there, as in model = \"{example}\""))),
        Some(model) if model.is_empty() || model.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(at.out_of_range(format!("`{model}`"), "a name without blanks"))
        }
        Some(model) => Ok(ModelId::new(model)),
    }
}
