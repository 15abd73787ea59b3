//! What a model on Bedrock takes, by its family, as far as Converse does not hide it, and what the operator says instead.

use std::collections::BTreeSet;

use spillway_router::Feature;

use super::config::BedrockOverrides;
use super::model::{BedrockModel, Family};

/// How a model is made to answer in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonStyle {
    /// By `outputConfig.textFormat`, for schemas; objects without a schema by a tool, where one can be forced.
    Native,
    /// By a tool that it must call, whose arguments are the answer.
    Tool,
}

/// Which choices of tools a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToolChoiceSupport {
    /// `auto` only.
    Auto,
    /// Also `any`. A named tool is forced as the only one.
    Any,
    /// Also a named tool.
    Named,
}

/// How a model is told how long to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasoningStyle {
    /// `outputConfig.effort`.
    Effort,
    /// `outputConfig.effort`, and a field that lets Claude think when it wants to.
    Adaptive,
    /// A budget of tokens for Claude's thinking.
    Budget,
    /// Nova's own field.
    Nova,
    /// The field `reasoning_effort`, as gpt-oss has it.
    Field,
}

/// Where a model takes `top_k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TopKField {
    /// At the top, as `top_k`.
    TopK,
    /// Inside `inferenceConfig`, as `topK`.
    InferenceConfig,
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) features: BTreeSet<Feature>,
    pub(super) json: Option<JsonStyle>,
    pub(super) tool_choice: ToolChoiceSupport,
    pub(super) reasoning: Option<ReasoningStyle>,
    pub(super) top_k: Option<TopKField>,
    /// Whether results of tools and text may stand in one turn.
    pub(super) turns: TurnRule,
    /// Whether arguments can be held to their schema.
    pub(super) strict_tools: StrictTools,
    /// Whether signed thinking is sent back.
    pub(super) past_reasoning: PastReasoning,
}

/// Whether results of tools and text may stand in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TurnRule {
    Mixed,
    ResultsAlone,
}

/// Whether arguments can be held to their schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum StrictTools {
    Honoured,
    Unknown,
}

/// What becomes of earlier thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PastReasoning {
    /// Signed words and hidden ones go back, since the model checks them; others are left out.
    Signed,
    /// It is left out: the model has no use for it.
    LeftOut,
}

impl Traits {
    /// Those of a model, as its name and the operator tell.
    pub(super) fn of(model: &BedrockModel, overrides: &BedrockOverrides) -> Self {
        let mut traits = Self::of_family(model.family());
        traits.json = overrides.json.or(traits.json);
        traits.tool_choice = overrides.tool_choice.unwrap_or(traits.tool_choice);
        traits.reasoning = overrides.reasoning.or(traits.reasoning);
        let Self { features, json, tool_choice, reasoning, .. } = &mut traits;
        features.extend(overrides.features.iter().copied());
        let can_force = *tool_choice > ToolChoiceSupport::Auto;
        let implied = [
            (Feature::JsonSchema, *json == Some(JsonStyle::Native) || (json.is_some() && can_force)),
            (Feature::JsonObject, json.is_some() && can_force),
            (Feature::ReasoningEffort, reasoning.is_some()),
        ];
        features.extend(implied.into_iter().filter_map(|(feature, is_there)| is_there.then_some(feature)));
        features.retain(|feature| !overrides.features_off.contains(feature));
        // What the operator adds needs a way to be asked for: these are the ones that most models have.
        let has_objects = features.contains(&Feature::JsonObject);
        if has_objects || features.contains(&Feature::JsonSchema) {
            let style = *json.get_or_insert(JsonStyle::Tool);
            if has_objects || style == JsonStyle::Tool {
                *tool_choice = (*tool_choice).max(ToolChoiceSupport::Any);
            }
        }
        if features.contains(&Feature::ReasoningEffort) {
            reasoning.get_or_insert(ReasoningStyle::Effort);
        }
        traits
    }

    fn of_family(family: Family) -> Self {
        let plain = Self {
            features: BTreeSet::from([Feature::Chat, Feature::Tools]),
            json: None,
            tool_choice: ToolChoiceSupport::Auto,
            reasoning: None,
            top_k: None,
            turns: TurnRule::Mixed,
            strict_tools: StrictTools::Unknown,
            past_reasoning: PastReasoning::LeftOut,
        };
        let with_images = BTreeSet::from([Feature::Chat, Feature::Tools, Feature::Images]);
        match family {
            Family::Anthropic => Self {
                features: with_images,
                json: Some(JsonStyle::Native),
                tool_choice: ToolChoiceSupport::Named,
                reasoning: Some(ReasoningStyle::Budget),
                top_k: Some(TopKField::TopK),
                strict_tools: StrictTools::Honoured,
                past_reasoning: PastReasoning::Signed,
                ..plain
            },
            Family::Nova | Family::Nova2 => Self {
                features: with_images,
                json: Some(JsonStyle::Tool),
                tool_choice: ToolChoiceSupport::Named,
                reasoning: (family == Family::Nova2).then_some(ReasoningStyle::Nova),
                top_k: Some(TopKField::InferenceConfig),
                ..plain
            },
            Family::Mistral => Self {
                json: Some(JsonStyle::Tool),
                tool_choice: ToolChoiceSupport::Any,
                top_k: Some(TopKField::TopK),
                turns: TurnRule::ResultsAlone,
                ..plain
            },
            Family::Meta => Self { turns: TurnRule::ResultsAlone, ..plain },
            Family::OpenAi => Self { reasoning: Some(ReasoningStyle::Field), ..plain },
            Family::Other => plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(model: &str, overrides: &BedrockOverrides) -> Vec<Feature> {
        let model = BedrockModel::parse(model).expect("a model");
        Traits::of(&model, overrides).features.into_iter().collect()
    }

    #[test]
    fn a_familys_features_are_what_converse_honours_for_it() {
        let none = BedrockOverrides::default();
        assert_eq!(
            features("eu.anthropic.claude-haiku-4-5-20251001-v1:0", &none),
            [
                Feature::Chat,
                Feature::Tools,
                Feature::Images,
                Feature::JsonObject,
                Feature::JsonSchema,
                Feature::ReasoningEffort
            ]
        );
        assert_eq!(features("meta.llama3-3-70b-instruct-v1:0", &none), [Feature::Chat, Feature::Tools]);
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let overrides = BedrockOverrides {
            features_off: BTreeSet::from([Feature::Tools]),
            json: Some(JsonStyle::Native),
            reasoning: Some(ReasoningStyle::Field),
            ..BedrockOverrides::default()
        };
        // Without a tool that can be forced, there are schemas but no free objects.
        assert_eq!(
            features("fake.plain", &overrides),
            [Feature::Chat, Feature::JsonSchema, Feature::ReasoningEffort]
        );
    }
}
