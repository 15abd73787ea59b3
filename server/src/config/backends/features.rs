//! What the operator says of a remote backend's features, beyond what its type and its model are known for.

use std::collections::BTreeSet;

use spillway_router::Feature;

use crate::config::document::KeyPath;
use crate::config::key_error::KeyError;
use crate::config::raw::RawFeature;

/// What differs from what is known of a backend's type and model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureChanges {
    /// It can do these as well.
    pub also: BTreeSet<Feature>,
    /// It cannot do these, or is not to be asked for them.
    pub off: BTreeSet<Feature>,
}

impl FeatureChanges {
    /// What a backend can do that is known for `known`.
    pub fn applied_to(&self, known: impl IntoIterator<Item = Feature>) -> BTreeSet<Feature> {
        known
            .into_iter()
            .chain(self.also.iter().copied())
            .filter(|feature| !self.off.contains(feature))
            .collect()
    }
}

/// Both lists; no feature is in both.
pub(super) fn validate(
    also: Option<Vec<RawFeature>>,
    off: Option<Vec<RawFeature>>,
    at: &KeyPath,
) -> Result<FeatureChanges, KeyError> {
    let also: BTreeSet<_> = also.unwrap_or_default().into_iter().map(Feature::from).collect();
    let off = off.unwrap_or_default();
    for (feature_idx, feature) in off.iter().enumerate() {
        if also.contains(&Feature::from(*feature)) {
            let at = at.key("features_off").item(feature_idx);
            return Err(at.out_of_place("features has it, too"));
        }
    }
    Ok(FeatureChanges { also, off: off.into_iter().map(Feature::from).collect() })
}

impl From<RawFeature> for Feature {
    fn from(raw: RawFeature) -> Self {
        match raw {
            RawFeature::Chat => Self::Chat,
            RawFeature::Completion => Self::Completion,
            RawFeature::TokenPrompt => Self::TokenPrompt,
            RawFeature::Tools => Self::Tools,
            RawFeature::Images => Self::Images,
            RawFeature::JsonObject => Self::JsonObject,
            RawFeature::JsonSchema => Self::JsonSchema,
            RawFeature::Logprobs => Self::Logprobs,
            RawFeature::PromptLogprobs => Self::PromptLogprobs,
            RawFeature::Seed => Self::Seed,
            RawFeature::Penalties => Self::Penalties,
            RawFeature::TokenRules => Self::TokenRules,
            RawFeature::SeveralChoices => Self::SeveralChoices,
            RawFeature::ReasoningEffort => Self::ReasoningEffort,
            RawFeature::ContinuedMessage => Self::ContinuedMessage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_knows_better() {
        let changes =
            FeatureChanges { also: [Feature::Images].into(), off: [Feature::Chat, Feature::Seed].into() };
        let features = changes.applied_to([Feature::Chat, Feature::Tools]);
        assert_eq!(features, BTreeSet::from([Feature::Tools, Feature::Images]));
    }
}
