//! Why an answer ended, one reason after the other.

use aws_sdk_bedrockruntime::types::StopReason;
use spillway_router::ErrorClass;
use spillway_types::FinishReason;

use super::fault::Fault;

/// What an answer held, as far as it says why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Calls of the client's tools.
    pub(super) num_calls: u32,
    /// Whether JSON was forced by a tool of ours.
    pub(super) json: ForcedJson,
}

/// What became of an answer that a tool of ours was to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ForcedJson {
    #[default]
    NotAsked,
    Missing,
    Given,
}

/// The house's reason for Bedrock's.
pub(super) fn finish_reason(reason: &StopReason, held: Held) -> Result<FinishReason, Fault> {
    let calls_or_stop = if held.num_calls > 0 { FinishReason::ToolCalls } else { FinishReason::Stop };
    match reason {
        StopReason::EndTurn | StopReason::StopSequence
            if held.json == ForcedJson::Missing && held.num_calls == 0 =>
        {
            Err(broken("answer_tool_not_called", "the model did not answer in JSON"))
        }
        StopReason::StopSequence => Ok(FinishReason::Stop),
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => Ok(FinishReason::Length),
        StopReason::ToolUse if held.num_calls == 0 && held.json != ForcedJson::Given => {
            Err(broken("tool_use_without_call", "the model said that it calls a function and called none"))
        }
        // Some models say that the turn is over although they call.
        StopReason::EndTurn | StopReason::ToolUse => Ok(calls_or_stop),
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => Ok(FinishReason::ContentFilter),
        StopReason::MalformedModelOutput => {
            Err(broken("malformed_model_output", "the model's output could not be read by Bedrock"))
        }
        StopReason::MalformedToolUse => {
            Err(broken("malformed_tool_use", "the model's call could not be read by Bedrock"))
        }
        other => {
            let reason: String = other.as_str().chars().take(40).collect();
            let message = format!("the answer ended for a reason that is not known here: `{reason}`");
            Err(Fault::new(ErrorClass::Malformed, "unknown_stop_reason", message))
        }
    }
}

fn broken(code: &'static str, message: &str) -> Fault {
    Fault::new(ErrorClass::MalformedOutput, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_meaning() {
        let called = Held { num_calls: 1, json: ForcedJson::NotAsked };
        let silent = Held::default();
        let forced = |json| Held { num_calls: 0, json };
        for (reason, held, expected) in [
            ("end_turn", silent, Ok(FinishReason::Stop)),
            ("end_turn", called, Ok(FinishReason::ToolCalls)),
            ("end_turn", forced(ForcedJson::Missing), Err("answer_tool_not_called")),
            ("stop_sequence", silent, Ok(FinishReason::Stop)),
            ("max_tokens", silent, Ok(FinishReason::Length)),
            ("model_context_window_exceeded", silent, Ok(FinishReason::Length)),
            ("tool_use", called, Ok(FinishReason::ToolCalls)),
            ("tool_use", forced(ForcedJson::Given), Ok(FinishReason::Stop)),
            ("tool_use", silent, Err("tool_use_without_call")),
            ("content_filtered", silent, Ok(FinishReason::ContentFilter)),
            ("guardrail_intervened", silent, Ok(FinishReason::ContentFilter)),
            ("malformed_model_output", silent, Err("malformed_model_output")),
            ("malformed_tool_use", called, Err("malformed_tool_use")),
            ("bored", silent, Err("unknown_stop_reason")),
        ] {
            let finish = finish_reason(&StopReason::from(reason), held).map_err(|fault| fault.code);
            assert_eq!(finish, expected.map_err(ToOwned::to_owned), "{reason}");
        }
    }
}
