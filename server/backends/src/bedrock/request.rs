//! A whole call: the house's request in Bedrock's terms, and what is needed to read its answer.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::operation::converse::builders::ConverseFluentBuilder;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::types::{
    InferenceConfiguration, Message, OutputConfig, ServiceTier as WireTier, ServiceTierType,
    SystemContentBlock, ToolConfiguration,
};
use aws_smithy_types::Document;
use serde_json::Value;
use spillway_types::{ChatEnd, ChatPrompt, GenerateRequest, JsonText, OutputFormat, Prompt, TextSize};

use super::config::BedrockConfig;
use super::document;
use super::fault::Refusal;
use super::format;
use super::inference;
use super::messages::{self, History, Translation};
use super::names::{self, Names};
use super::tools;
use super::traits::Traits;

/// By how much more a text is taken to hold than it likely does, as code and numbers make more tokens than prose.
const TEXT_MARGIN: (u32, u32) = (4, 3);
/// Tokens that a picture is taken for.
const TOKENS_PER_IMAGE: u32 = 1600;
/// Tokens around each message.
const TOKENS_PER_MESSAGE: u32 = 8;

/// A call to be made.
#[derive(Debug)]
pub(super) struct Call {
    model: String,
    system: Vec<SystemContentBlock>,
    messages: Vec<Message>,
    inference: InferenceConfiguration,
    tools: Option<ToolConfiguration>,
    fields: Option<Document>,
    output: Option<OutputConfig>,
    tier: Option<WireTier>,
    /// Tokens of quota that Bedrock reserves for it, as far as can be told.
    pub(super) reserved_tokens: u64,
    /// How its answer is read.
    pub(super) reading: Reading,
}

/// What of a request is needed to read its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The tools' names.
    pub(super) names: Names,
    /// The tool whose arguments are the answer's text.
    pub(super) answer_tool: Option<String>,
    /// How many calls an answer may hold.
    pub(super) calls: CallLimit,
    /// The only stop string, if there is one only: Bedrock does not tell which one it met.
    pub(super) only_stop: Option<String>,
}

/// How many calls an answer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CallLimit {
    #[default]
    Several,
    One,
}

impl Call {
    /// Translates a request.
    pub(super) fn new(
        request: &GenerateRequest,
        config: &BedrockConfig,
        traits: &Traits,
    ) -> Result<Self, Refusal> {
        inference::refuse_unknown(request)?;
        let chat = conversation(&request.prompt)?;
        let calls = messages::past_calls(&chat.messages)?;
        let offered = tools::offered(chat.tools.as_ref());
        let tool_names = offered.iter().flat_map(|offered| &offered.tools).map(|tool| tool.name.as_str());
        let past_names = calls.iter().flatten().map(|call| call.name.as_str());
        let mut names = Names::new(tool_names.chain(past_names), names::is_tool_letter);
        let offer = tools::offer(chat.tools.as_ref(), &request.format, traits, &mut names)?;
        let history = if offered.is_some() { History::Blocks } else { History::Text };
        let translation = Translation { traits, history, tools: &names, calls: &calls };
        let conversation = translation.conversation(&chat.messages)?;

        let params = &request.params;
        let most_tokens = params.max_tokens.map(std::num::NonZeroU32::get);
        let thinking = format::thinking(request.reasoning_effort, traits, offer.duty, most_tokens)?;
        let prompt_tokens = estimate(chat, &request.format);
        let max_tokens = inference::max_tokens(params, config, &thinking, prompt_tokens);
        let mut fields = thinking.fields;
        inference::add_top_k(&mut fields, &params.given, traits, thinking.sampling)?;
        let only_stop = match params.stop.as_slice() {
            [stop] => Some(stop.clone()),
            _ => None,
        };
        let is_single = offered.is_some_and(|offered| !offered.parallel);
        Ok(Self {
            model: config.model.as_str().to_owned(),
            system: conversation.system,
            messages: conversation.messages,
            inference: inference::inference(&config.id, params, thinking.sampling, max_tokens)?,
            tools: offer.config,
            fields: (!fields.is_empty()).then(|| document::from_json(Value::Object(fields))),
            output: format::output_config(&request.format, traits, thinking.effort),
            tier: config.service_tier.map(|tier| {
                let tier = WireTier::builder().r#type(ServiceTierType::from(tier.as_str()));
                tier.build().expect("its type is set")
            }),
            reserved_tokens: u64::from(prompt_tokens) + u64::from(max_tokens),
            reading: Reading {
                names,
                answer_tool: offer.answer_tool,
                calls: if is_single { CallLimit::One } else { CallLimit::Several },
                only_stop,
            },
        })
    }

    /// The call for an answer in events.
    pub(super) fn for_stream(&self, client: &Client) -> ConverseStreamFluentBuilder {
        client
            .converse_stream()
            .model_id(&self.model)
            .set_system(self.system())
            .set_messages(Some(self.messages.clone()))
            .inference_config(self.inference.clone())
            .set_tool_config(self.tools.clone())
            .set_additional_model_request_fields(self.fields.clone())
            .set_output_config(self.output.clone())
            .set_service_tier(self.tier.clone())
    }

    /// The call for an answer in one body.
    pub(super) fn for_whole(&self, client: &Client) -> ConverseFluentBuilder {
        client
            .converse()
            .model_id(&self.model)
            .set_system(self.system())
            .set_messages(Some(self.messages.clone()))
            .inference_config(self.inference.clone())
            .set_tool_config(self.tools.clone())
            .set_additional_model_request_fields(self.fields.clone())
            .set_output_config(self.output.clone())
            .set_service_tier(self.tier.clone())
    }

    fn system(&self) -> Option<Vec<SystemContentBlock>> {
        (!self.system.is_empty()).then(|| self.system.clone())
    }
}

/// The conversation, which is the only kind of prompt that Converse takes.
fn conversation(prompt: &Prompt) -> Result<&ChatPrompt, Refusal> {
    let Prompt::Chat(chat) = prompt else {
        let message = "models on Bedrock answer conversations only: use /v1/chat/completions";
        return Err(Refusal::new("prompt", message));
    };
    if chat.end != ChatEnd::AssistantTurn {
        let message = "models on Bedrock do not go on with a message: leave it out";
        return Err(Refusal::new("continue_final_message", message));
    }
    if chat.arguments.is_some() {
        let message = "models on Bedrock have no template of ours: leave `chat_template_kwargs` out";
        return Err(Refusal::new("chat_template_kwargs", message));
    }
    Ok(chat)
}

/// Tokens of a prompt, rather too many than too few.
fn estimate(chat: &ChatPrompt, format: &OutputFormat) -> u32 {
    let schema = match format {
        OutputFormat::JsonSchema(schema) => Some(schema.schema.as_str()),
        OutputFormat::Text | OutputFormat::JsonObject => None,
    };
    let tools = chat.tools.iter().flat_map(|tools| &tools.tools).flat_map(|tool| {
        let parameters = tool.parameters.as_ref().map(JsonText::as_str);
        [Some(tool.name.as_str()), tool.description.as_deref(), parameters]
    });
    let messages = chat.messages.iter().flat_map(|message| {
        [Some(message.content.as_str()), message.tool_calls.as_ref().map(JsonText::as_str)]
    });
    let text: TextSize = tools.chain(messages).chain([schema]).flatten().map(TextSize::of).sum();
    let num_images = chat.messages.iter().map(|message| message.images.len() as u32).sum::<u32>();
    let (more, than) = TEXT_MARGIN;
    text.tokens().saturating_mul(more).div_ceil(than)
        + num_images * TOKENS_PER_IMAGE
        + chat.messages.len() as u32 * TOKENS_PER_MESSAGE
}
