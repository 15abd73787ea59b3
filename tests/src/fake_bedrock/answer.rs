//! What a model says to a request: blocks of words, counted.

use serde_json::{Value, json};
use spillway_types::Usage;

use super::behaviour::Behaviour;
use super::schema;

/// What a model says that is asked for nothing special.
const WORDS: [&str; 8] = ["The", "cloud", "answers", "with", "eight", "words", "of", "text"];
/// Tokens of a picture.
const TOKENS_PER_IMAGE: u32 = 100;
/// Tokens that a model with a cache writes to it.
const CACHE_WRITE_TOKENS: u32 = 10;

/// A block of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    /// Words, each a token.
    Text(Vec<String>),
    /// Thinking, with its signature.
    Thought(Vec<String>),
    /// A call of a tool.
    Call { id: String, name: String, input: Value },
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: String,
    /// What the prompt costs.
    pub(super) prompt: Usage,
}

impl Block {
    /// Tokens of it: words of text, and of a call's JSON those between spaces.
    pub(super) fn num_tokens(&self) -> u32 {
        match self {
            Self::Text(words) | Self::Thought(words) => words.len() as u32,
            Self::Call { input, .. } => 1 + num_words(&input.to_string()),
        }
    }
}

impl Answer {
    /// What a model says.
    pub(super) fn to(request: &Value, behaviour: &Behaviour, request_id: &str) -> Self {
        let mut stop_reason = "end_turn".to_owned();
        let mut blocks = match behaviour {
            Behaviour::Thinker => {
                vec![Block::Thought(words("I think about it")), Block::Text(words("I have thought about it"))]
            }
            Behaviour::Echo => vec![Block::Text(words(last_text(request)))],
            Behaviour::Words(num_words) => {
                vec![Block::Text((0..*num_words).map(|word| format!("word{word}")).collect())]
            }
            Behaviour::NoContent => Vec::new(),
            Behaviour::Drip(_) => vec![Block::Text((0..100_000).map(|word| format!("drop{word}")).collect())],
            _ => vec![asked_for(request, behaviour, request_id)],
        };
        if blocks.iter().any(|block| matches!(block, Block::Call { .. })) {
            "tool_use".clone_into(&mut stop_reason);
        }
        let max_tokens = request["inferenceConfig"]["maxTokens"].as_u64().unwrap_or(u64::MAX);
        if cut(&mut blocks, max_tokens) {
            "max_tokens".clone_into(&mut stop_reason);
        }
        if let Behaviour::Stop(reason) = behaviour {
            stop_reason.clone_from(reason);
        }
        Self { blocks, stop_reason, prompt: prompt_usage(request, behaviour) }
    }

    /// What the whole of it costs.
    pub(super) fn usage(&self) -> Usage {
        let completion_tokens = self.blocks.iter().map(Block::num_tokens).sum();
        Usage { completion_tokens, ..self.prompt }
    }
}

/// Bedrock's form of a usage: tokens of the cache beside the others.
pub(super) fn usage_json(usage: &Usage) -> Value {
    let input = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens;
    json!({
        "inputTokens": input,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.prompt_tokens + usage.completion_tokens,
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    })
}

/// A call that is forced, JSON that is asked for, or the usual words.
fn asked_for(request: &Value, behaviour: &Behaviour, request_id: &str) -> Block {
    let tools = &request["toolConfig"]["tools"];
    let choice = &request["toolConfig"]["toolChoice"];
    let named = choice["tool"]["name"].as_str();
    let is_called = named.is_some() || choice["any"].is_object() || *behaviour == Behaviour::Tool;
    let mut specs = tools.as_array().into_iter().flatten().map(|tool| &tool["toolSpec"]);
    let spec = specs.find(|spec| named.is_none_or(|name| spec["name"] == name));
    if let Some(spec) = spec.filter(|_| is_called) {
        let name = spec["name"].as_str().unwrap_or_default().to_owned();
        let input = schema::value_of(&spec["inputSchema"]["json"]);
        return Block::Call { id: format!("tooluse_{request_id}"), name, input };
    }
    let schema = request["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str();
    if let Some(schema) = schema.and_then(|text| serde_json::from_str(text).ok()) {
        return Block::Text(vec![schema::value_of(&schema).to_string()]);
    }
    Block::Text(WORDS.map(str::to_owned).to_vec())
}

/// Cuts blocks to what may be generated; whether anything was cut.
fn cut(blocks: &mut Vec<Block>, max_tokens: u64) -> bool {
    let mut left = max_tokens;
    for block_idx in 0..blocks.len() {
        let num_tokens = u64::from(blocks[block_idx].num_tokens());
        if num_tokens <= left {
            left -= num_tokens;
            continue;
        }
        blocks.truncate(block_idx + 1);
        match &mut blocks[block_idx] {
            Block::Text(words) | Block::Thought(words) => words.truncate(left as usize),
            Block::Call { .. } => {
                blocks.pop();
            }
        }
        return true;
    }
    false
}

fn prompt_usage(request: &Value, behaviour: &Behaviour) -> Usage {
    let num_tokens = num_tokens(&request["system"]) + num_tokens(&request["messages"]);
    if *behaviour != Behaviour::Cached {
        return Usage { prompt_tokens: num_tokens, ..Usage::default() };
    }
    Usage {
        prompt_tokens: num_tokens + CACHE_WRITE_TOKENS,
        cached_tokens: num_tokens / 2,
        cache_write_tokens: CACHE_WRITE_TOKENS,
        completion_tokens: 0,
    }
}

/// Words of all texts in a value, and pictures.
fn num_tokens(value: &Value) -> u32 {
    match value {
        Value::Array(values) => values.iter().map(num_tokens).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("text", Value::String(text)) => num_words(text),
                ("image", _) => TOKENS_PER_IMAGE,
                ("input", input) => num_words(&input.to_string()),
                (_, value) => num_tokens(value),
            })
            .sum(),
        _ => 0,
    }
}

/// The last text of the conversation.
fn last_text(request: &Value) -> &str {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut blocks =
        messages.iter().rev().flat_map(|message| message["content"].as_array().into_iter().flatten().rev());
    blocks.find_map(|block| block["text"].as_str()).unwrap_or_default()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn num_words(text: &str) -> u32 {
    text.split_whitespace().count() as u32
}
