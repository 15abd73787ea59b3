//! Tokens as Bedrock counts them, in the house's terms.

use aws_sdk_bedrockruntime::types::TokenUsage;
use spillway_types::Usage;

/// Bedrock counts tokens of its cache beside the prompt's others; the house counts them among them.
pub(super) fn usage(told: &TokenUsage) -> Usage {
    let count = |tokens: i32| u32::try_from(tokens).unwrap_or(0);
    let cached_tokens = count(told.cache_read_input_tokens.unwrap_or(0));
    let cache_write_tokens = count(told.cache_write_input_tokens.unwrap_or(0));
    Usage {
        prompt_tokens: count(told.input_tokens) + cached_tokens + cache_write_tokens,
        cached_tokens,
        cache_write_tokens,
        completion_tokens: count(told.output_tokens),
    }
}

/// Quota that a finished call has used up: what was read from the cache is free of it.
pub(super) fn quota_tokens(usage: &Usage, output_burndown: u32) -> u64 {
    let prompt = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    u64::from(prompt) + u64::from(usage.completion_tokens) * u64::from(output_burndown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_the_sum_of_what_was_read_anew_from_the_cache_and_into_it() {
        let told = TokenUsage::builder()
            .input_tokens(10)
            .output_tokens(7)
            .total_tokens(147)
            .cache_read_input_tokens(100)
            .cache_write_input_tokens(30);
        let usage = usage(&told.build().expect("its counts are set"));
        let expected =
            Usage { prompt_tokens: 140, cached_tokens: 100, cache_write_tokens: 30, completion_tokens: 7 };
        assert_eq!(usage, expected);
        assert_eq!(quota_tokens(&usage, 5), 75);
    }
}
