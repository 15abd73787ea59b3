//! Log-probabilities of tokens in the shapes of the endpoints.

use spillway_api::openai::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob, PromptLogprobs,
    TopTexts,
};
use spillway_types::{AnswerToken, PromptText, TokenDetail, TokenId, TopLogprobs};

/// The lowest log-probability that is written: JSON has no infinity. vLLM and OpenAI write the same.
const LOWEST: f32 = -9999.0;

/// How tokens are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenNames {
    /// By their text.
    Text,
    /// By their ids, as `token_id:7`.
    Ids,
}

impl TokenNames {
    /// By its text where a server does not tell its id.
    fn name(self, token: Option<TokenId>, bytes: &[u8]) -> String {
        match (self, token) {
            (Self::Text, _) | (Self::Ids, None) => String::from_utf8_lossy(bytes).into_owned(),
            (Self::Ids, Some(token)) => format!("token_id:{token}"),
        }
    }

    fn chat(self, token: Option<TokenId>, logprob: f32, bytes: &[u8]) -> ChatTopLogprob {
        ChatTopLogprob { token: self.name(token, bytes), logprob: logprob.max(LOWEST), bytes: bytes.to_vec() }
    }

    /// Tokens of a chat's answer.
    pub(crate) fn of_chat(self, tokens: &[AnswerToken]) -> ChatLogprobs {
        let told = tokens.iter().filter_map(|token| {
            let detail = token.detail.as_ref()?;
            let top = detail.top.iter().map(|best| self.chat(best.token, best.logprob, &best.bytes));
            Some(ChatTokenLogprob {
                token: self.chat(token.token, token.logprob, &detail.bytes),
                top_logprobs: top.collect(),
            })
        });
        ChatLogprobs { content: told.collect() }
    }

    /// Adds tokens of a completion, or of its prompt, with at most `max_top` alternatives each. `offset` is the place of
    /// their text in the whole.
    pub(crate) fn add_to_completion(
        self,
        logprobs: &mut CompletionLogprobs,
        tokens: &[AnswerToken],
        offset: u32,
        max_top: TopLogprobs,
    ) {
        for token in tokens {
            let Some(detail) = &token.detail else { continue };
            logprobs.text_offset.push(offset + detail.text_offset);
            logprobs.token_logprobs.push(Some(token.logprob.max(LOWEST)));
            logprobs.tokens.push(self.name(token.token, &detail.bytes));
            logprobs.top_logprobs.push(Some(self.top_texts(token, detail, max_top)));
        }
    }

    /// Adds the first token of a prompt, which has no probability.
    pub(crate) fn add_first(self, logprobs: &mut CompletionLogprobs, prompt: &PromptText) {
        logprobs.text_offset.push(0);
        logprobs.token_logprobs.push(None);
        logprobs.tokens.push(self.name(Some(prompt.first), &prompt.first_bytes));
        logprobs.top_logprobs.push(None);
    }

    /// The most likely tokens, and last the one that stands there, if it is not among them.
    fn top_texts(self, token: &AnswerToken, detail: &TokenDetail, max_top: TopLogprobs) -> TopTexts {
        let top = detail.top.iter().take(max_top.count());
        let top = top.map(|best| (self.name(best.token, &best.bytes), best.logprob.max(LOWEST)));
        let itself = (self.name(token.token, &detail.bytes), token.logprob.max(LOWEST));
        TopTexts::new(top.chain([itself]))
    }

    /// The field `prompt_logprobs`, with at most `max_top` alternatives for each token.
    pub(crate) fn of_prompt(self, tokens: &[AnswerToken], max_top: TopLogprobs) -> PromptLogprobs {
        let positions = tokens.iter().map(|token| {
            let detail = token.detail.as_ref()?;
            // They are told by their ids, so those without one cannot be.
            let entry = |token: Option<TokenId>, logprob: f32, rank, bytes: &[u8]| {
                let decoded_token = self.name(token, bytes);
                Some((token?.0, PromptLogprob { logprob: logprob.max(LOWEST), rank, decoded_token }))
            };
            let top = detail.top.iter().take(max_top.count()).zip(1_u32..);
            let top = top.map(|(best, rank)| entry(best.token, best.logprob, rank, &best.bytes));
            // Last, so that its own rank stands, which counts its equals.
            let itself = entry(token.token, token.logprob, detail.rank, &detail.bytes);
            Some(top.chain([itself]).flatten().collect())
        });
        std::iter::once(None).chain(positions).collect()
    }
}
