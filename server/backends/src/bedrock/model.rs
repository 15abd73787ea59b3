//! Names of models on Bedrock: base ids, inference profiles, ARNs, and what they say of the model and of where it computes.

use std::fmt;
use std::sync::Arc;

use spillway_router::Residency;

use super::config::BedrockConfigError;

/// The longest name that Bedrock takes.
const MAX_BYTES: usize = 2048;

/// Who makes models on Bedrock, as the first word of an id. It tells an inference profile's prefix from a provider.
const PROVIDERS: [&str; 19] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "zai",
];

/// Prefixes of inference profiles that there are today, for providers that are not in the list above.
const PREFIXES: [&str; 9] = ["us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "global"];

/// What stands for the prefix of an ARN that does not tell where it computes: an application's own inference profile, a
/// router of prompts. An operator who allows certain prefixes only, must allow this one by name.
const UNTOLD_PREFIX: &str = "application";

/// The name of a model or inference profile, as it stands in a call's path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BedrockModel(Arc<str>);

/// Whose model it is, as far as that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// Claude.
    Anthropic,
    /// Nova.
    Nova,
    /// The second generation of Nova, which can think.
    Nova2,
    /// Llama.
    Meta,
    /// Mistral and its kin.
    Mistral,
    /// gpt-oss.
    OpenAi,
    /// Everybody else, and names that do not tell.
    Other,
}

impl BedrockModel {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`BedrockConfigError::Model`] if it is empty, too long or has spaces.
    pub fn parse(name: &str) -> Result<Self, BedrockConfigError> {
        let is_fine = |byte: u8| byte.is_ascii_graphic();
        if name.is_empty() || name.len() > MAX_BYTES || !name.bytes().all(is_fine) {
            let model = name.chars().take(100).collect();
            return Err(BedrockConfigError::Model { model, max_bytes: MAX_BYTES });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it computes if it is asked in `region`.
    pub fn residency(&self, region: &Arc<str>) -> Residency {
        Residency { region: Arc::clone(region), profile_prefix: self.profile_prefix().map(Arc::from) }
    }

    /// The prefix of its inference profile; absent if only the region that is asked computes.
    fn profile_prefix(&self) -> Option<&str> {
        if let Some((kind, id)) = self.arn() {
            return match kind {
                "inference-profile" => prefix(id),
                "foundation-model" | "provisioned-model" | "custom-model-deployment" | "imported-model" => {
                    None
                }
                _ => Some(UNTOLD_PREFIX),
            };
        }
        prefix(&self.0)
    }

    /// Whose model it is.
    pub(super) fn family(&self) -> Family {
        let id = self.arn().map_or(&*self.0, |(_, id)| id);
        let base = prefix(id).and_then(|prefix| id.get(prefix.len() + 1..)).unwrap_or(id);
        let (provider, name) = base.split_once('.').unwrap_or((base, ""));
        match provider {
            "anthropic" => Family::Anthropic,
            "amazon" if name.starts_with("nova-2") => Family::Nova2,
            "amazon" if name.starts_with("nova") => Family::Nova,
            "meta" => Family::Meta,
            "mistral" => Family::Mistral,
            "openai" => Family::OpenAi,
            _ => Family::Other,
        }
    }

    /// The kind and the id of an ARN's resource, as in `arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova`.
    fn arn(&self) -> Option<(&str, &str)> {
        let resource = self.0.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
        Some(resource.split_once('/').unwrap_or((resource, "")))
    }
}

impl fmt::Display for BedrockModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first word of an id, if it is the prefix of an inference profile.
fn prefix(id: &str) -> Option<&str> {
    let (first, rest) = id.split_once('.')?;
    let next = rest.split('.').next().unwrap_or(rest);
    let is_prefix = PREFIXES.contains(&first) || (!PROVIDERS.contains(&first) && PROVIDERS.contains(&next));
    is_prefix.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_model_it_is_and_how_far_its_prompts_travel() {
        let profile = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-2-lite-v1:0";
        for (name, family, prefix) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", Family::Anthropic, None),
            ("global.anthropic.claude-sonnet-4-6", Family::Anthropic, Some("global")),
            ("us-gov.anthropic.claude-sonnet-4-6", Family::Anthropic, Some("us-gov")),
            ("amazon.nova-micro-v1:0", Family::Nova, None),
            ("meta.llama3-3-70b-instruct-v1:0", Family::Meta, None),
            ("moonshotai.kimi-k2.5", Family::Other, None),
            ("mars.anthropic.claude-opus-5", Family::Anthropic, Some("mars")),
            ("eu.newcomer.model-v1:0", Family::Other, Some("eu")),
            ("fake.plain", Family::Other, None),
            (profile, Family::Nova2, Some("eu")),
            ("arn:aws:bedrock:us-east-1::foundation-model/openai.gpt-oss-20b-1:0", Family::OpenAi, None),
            (
                "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
                Family::Other,
                Some("application"),
            ),
        ] {
            let model = BedrockModel::parse(name).expect("a name");
            assert_eq!((model.family(), model.profile_prefix()), (family, prefix), "{name}");
        }
    }

    #[test]
    fn a_name_with_spaces_is_refused() {
        for name in ["", "claude haiku", &"a".repeat(2049)] {
            assert!(BedrockModel::parse(name).is_err(), "{name}");
        }
    }
}
