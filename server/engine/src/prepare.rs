//! From a request to what the engine computes: its prompt's tokens, its rules, its ends. On the caller's side.

use std::sync::Arc;

use spillway_models::LogitRules;
use spillway_text::{Ends, Tokenizer};
use spillway_types::{Prompt, PromptText, SamplingParams, TokenId, Truncation};

use crate::error::EngineError;
use crate::handle::ModelCard;
use crate::text::{TextPipeline, from_text};

/// A request in tokens.
pub(crate) struct Prepared {
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) prompt_text: Option<PromptText>,
    pub(crate) rules: Option<Arc<LogitRules>>,
    /// Tokens that end a sequence when they are sampled.
    pub(crate) end_tokens: Arc<[TokenId]>,
}

/// Tokenises the prompt and whatever else of the request is text. Takes time: call it where blocking is allowed.
pub(crate) fn prepare(
    text: &TextPipeline,
    card: &ModelCard,
    prompt: &Prompt,
    truncation: Option<Truncation>,
    params: &SamplingParams,
) -> Result<Prepared, EngineError> {
    check_tokens(card, params)?;
    let mut tokens = text.tokens(prompt)?;
    let num_cut = num_cut(tokens.len(), truncation, card, params)?;
    tokens.drain(..num_cut);
    let first = *tokens.first().ok_or(EngineError::PromptEmpty)?;
    check_min_tokens(tokens.len(), card, params)?;
    let prompt_text = if params.tell_prompt {
        let as_sent = if num_cut == 0 { Some(prompt) } else { None };
        Some(PromptText {
            text: text.prompt_text(as_sent, &tokens)?,
            first,
            first_bytes: text.tokenizer().token_bytes(first).map_err(from_text)?.to_vec(),
        })
    } else {
        None
    };
    let rules = logit_rules(text.tokenizer(), card, &tokens, params)?;
    let end_tokens = if params.ignore_eos {
        params.stop_tokens.as_slice().into()
    } else if params.stop_tokens.is_empty() {
        Arc::clone(&card.end_tokens)
    } else {
        card.end_tokens.iter().chain(&params.stop_tokens).copied().collect()
    };
    let rules = (!rules.are_off()).then(|| Arc::new(rules));
    Ok(Prepared { prompt: tokens, prompt_text, rules, end_tokens })
}

/// Every token that the request names must be one.
fn check_tokens(card: &ModelCard, params: &SamplingParams) -> Result<(), EngineError> {
    let constraints = &params.constraints;
    let bias = constraints.bias.iter().map(|bias| ("logit_bias", bias.token));
    let allowed = constraints.allowed.iter().flatten().map(|token| ("allowed_token_ids", *token));
    let stop = params.stop_tokens.iter().map(|token| ("stop_token_ids", *token));
    match bias.chain(allowed).chain(stop).find(|(_, token)| token.0 >= card.vocab_size) {
        None => Ok(()),
        Some((param, token)) => {
            let message = format!(
                "`{param}` names token {token}, the vocabulary ends at {}: leave it out",
                card.vocab_size.saturating_sub(1)
            );
            Err(EngineError::InvalidParameter { param, message })
        }
    }
}

/// A sequence that could never reach its least number of tokens is refused. A prompt that leaves no room at all is told so
/// later, by its own length.
fn check_min_tokens(
    prompt_tokens: usize,
    card: &ModelCard,
    params: &SamplingParams,
) -> Result<(), EngineError> {
    let room = (card.max_model_len as usize).saturating_sub(prompt_tokens);
    if room == 0 || params.min_tokens as usize <= room {
        return Ok(());
    }
    let message = format!(
        "`min_tokens` is {}, limit {room} (a context of {} tokens less a prompt of {prompt_tokens}): lower it",
        params.min_tokens, card.max_model_len
    );
    Err(EngineError::InvalidParameter { param: "min_tokens", message })
}

/// How many of a prompt's first tokens are cut off.
fn num_cut(
    num_tokens: usize,
    truncation: Option<Truncation>,
    card: &ModelCard,
    params: &SamplingParams,
) -> Result<usize, EngineError> {
    let max_output = params.max_tokens.map_or(1, u32::from);
    let num_kept = match truncation {
        None => return Ok(0),
        Some(Truncation::ToFit) => card.max_model_len.saturating_sub(max_output).max(1),
        Some(Truncation::Last(count)) if count.get() >= card.max_model_len => {
            let limit = card.max_model_len.saturating_sub(1);
            let message =
                format!("`truncate_prompt_tokens` is {count}, limit {limit}: lower it, or send -1 to fit");
            return Err(EngineError::InvalidParameter { param: "truncate_prompt_tokens", message });
        }
        Some(Truncation::Last(count)) => count.get(),
    };
    Ok(num_tokens.saturating_sub(num_kept as usize))
}

fn logit_rules(
    tokenizer: &Tokenizer,
    card: &ModelCard,
    prompt: &[TokenId],
    params: &SamplingParams,
) -> Result<LogitRules, EngineError> {
    let constraints = &params.constraints;
    let mut prompt_tokens = Vec::new();
    if params.penalties.look_at_prompt() {
        prompt_tokens.extend_from_slice(prompt);
        prompt_tokens.sort_unstable();
        prompt_tokens.dedup();
    }
    let has_least = params.min_tokens > 0;
    let ends = card.end_tokens.iter().chain(&params.stop_tokens).copied();
    Ok(LogitRules {
        allowed: constraints.allowed.clone(),
        bad_words: bad_words(tokenizer, &constraints.bad_words)?,
        end_tokens: ends.filter(|_| has_least).collect(),
        first_end_position: if has_least {
            (prompt.len() as u32).saturating_add(params.min_tokens)
        } else {
            0
        },
        bias: constraints.bias.clone(),
        penalties: params.penalties,
        prompt_tokens,
    })
}

/// The token sequences that spell bad words, at the start of a text and after a space, as in vLLM: the form after a
/// space counts if it begins with another token and has as many.
fn bad_words(tokenizer: &Tokenizer, words: &[String]) -> Result<Vec<Vec<TokenId>>, EngineError> {
    let mut spellings = Vec::new();
    for word in words {
        let plain = tokenizer.encode_text(word.trim_start(), Ends::Omit).map_err(from_text)?;
        let spaced = format!(" {}", word.trim_start());
        let spaced = tokenizer.encode_text(&spaced, Ends::Omit).map_err(from_text)?;
        if plain.is_empty() {
            let message = format!("`bad_words` holds {word:?}, which has no tokens: leave it out");
            return Err(EngineError::InvalidParameter { param: "bad_words", message });
        }
        let differs = spaced.first() != plain.first() && spaced.len() == plain.len();
        spellings.push(plain);
        if differs {
            spellings.push(spaced);
        }
    }
    Ok(spellings)
}

#[cfg(test)]
mod tests;
