//! An answer that came in one body, as the events that it would have been.

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput as Whole;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockDeltaEvent, ContentBlockStart, ContentBlockStartEvent,
    ContentBlockStopEvent, ConversationRole, ConverseOutput, ConverseStreamMetadataEvent,
    ConverseStreamOutput, MessageStartEvent, MessageStopEvent, ReasoningContentBlock,
    ReasoningContentBlockDelta, ToolUseBlockDelta, ToolUseBlockStart,
};
use spillway_router::ErrorClass;

use super::document;
use super::fault::Fault;

/// The events of an answer.
pub(super) fn events(whole: Whole) -> Result<Vec<ConverseStreamOutput>, Fault> {
    let Some(ConverseOutput::Message(message)) = whole.output else {
        return Err(Fault::new(ErrorClass::EmptyAnswer, "no_output", "the answer has no message"));
    };
    let start = MessageStartEvent::builder().role(ConversationRole::Assistant).build();
    let mut events = vec![ConverseStreamOutput::MessageStart(start.expect("its role is set"))];
    for (index, block) in (0..).zip(message.content) {
        events.extend(block_events(index, block)?);
        let stop = ContentBlockStopEvent::builder().content_block_index(index).build();
        events.push(ConverseStreamOutput::ContentBlockStop(stop.expect("its index is set")));
    }
    let stop = MessageStopEvent::builder().stop_reason(whole.stop_reason).build();
    events.push(ConverseStreamOutput::MessageStop(stop.expect("its reason is set")));
    // The SDK puts zeros where the usage is missing; no call is without a token.
    let usage = whole.usage.filter(|usage| usage.total_tokens > 0 || usage.input_tokens > 0);
    let metadata = ConverseStreamMetadataEvent::builder().set_usage(usage).build();
    events.push(ConverseStreamOutput::Metadata(metadata));
    Ok(events)
}

fn block_events(index: i32, block: ContentBlock) -> Result<Vec<ConverseStreamOutput>, Fault> {
    let delta = |delta| delta_event(index, delta);
    let reasoning = |part| delta(ContentBlockDelta::ReasoningContent(part));
    Ok(match block {
        ContentBlock::Text(text) => vec![delta(ContentBlockDelta::Text(text))],
        ContentBlock::ToolUse(call) => {
            let input = document::to_json(&call.input).to_string();
            let start = ToolUseBlockStart::builder().tool_use_id(call.tool_use_id).name(call.name).build();
            let start = ContentBlockStartEvent::builder()
                .content_block_index(index)
                .start(ContentBlockStart::ToolUse(start.expect("id and name are set")))
                .build();
            let arguments = ToolUseBlockDelta::builder().input(input).build().expect("its input is set");
            vec![
                ConverseStreamOutput::ContentBlockStart(start.expect("its index is set")),
                delta(ContentBlockDelta::ToolUse(arguments)),
            ]
        }
        ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(thought)) => {
            let signature = thought.signature.map(ReasoningContentBlockDelta::Signature);
            let parts = [Some(ReasoningContentBlockDelta::Text(thought.text)), signature];
            parts.into_iter().flatten().map(reasoning).collect()
        }
        ContentBlock::ReasoningContent(ReasoningContentBlock::RedactedContent(hidden)) => {
            vec![reasoning(ReasoningContentBlockDelta::RedactedContent(hidden))]
        }
        ContentBlock::CitationsContent(cited) => {
            let texts = cited.content.unwrap_or_default().into_iter();
            let texts = texts.filter_map(|part| part.as_text().ok().cloned());
            texts.map(|text| delta(ContentBlockDelta::Text(text))).collect()
        }
        _ => {
            let message = "the answer holds a block of a kind that is not known here";
            return Err(Fault::new(ErrorClass::MalformedOutput, "unsupported_content", message));
        }
    })
}

fn delta_event(index: i32, delta: ContentBlockDelta) -> ConverseStreamOutput {
    let event = ContentBlockDeltaEvent::builder().content_block_index(index).delta(delta).build();
    ConverseStreamOutput::ContentBlockDelta(event.expect("its index is set"))
}
