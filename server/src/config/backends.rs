//! The checked `[[backends]]`: who can serve, on which side of the boundary, under which terms.
//!
//! The composition root makes each into what its room wants. One engine runs in this process, so at most one backend is
//! local.

mod bedrock;
mod features;
mod openai;
mod terms;

use std::path::PathBuf;

use spillway_router::{BackendId, Boundary};
use spillway_store::PriceTable;
use spillway_types::ModelId;

use super::Environment;
use super::document::KeyPath;
use super::key_error::{KeyError, Problem};
use super::names::name;
use super::raw::{RawBackend, RawBackendKind, RawBoundary};

pub(super) use bedrock::is_region;
pub use bedrock::{BedrockSettings, JsonSchemaBy, ReasoningBy, ToolChoiceUpTo};
pub use features::FeatureChanges;
pub use openai::{Dialect, OpenAiSettings};
pub use terms::{RemoteTerms, Timeouts};

/// The name of the local model's backend where none is listed.
const LOCAL_BACKEND: &str = "local";
/// Most backends; each is asked for its state at every decision.
const MAX_BACKENDS: usize = 64;

/// Somebody who can serve.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// Its name.
    pub id: BackendId,
    /// On which side it computes.
    pub boundary: Boundary,
    /// What it is.
    pub kind: BackendKind,
}

/// What a backend is.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendKind {
    /// The engine of this process.
    Local,
    /// A model of Amazon Bedrock.
    Bedrock(BedrockSettings),
    /// A server that speaks OpenAI's protocol.
    OpenAi(OpenAiSettings),
}

impl BackendConfig {
    /// The engine of this process, where none is listed.
    fn implied_local() -> Self {
        Self { id: BackendId::new(LOCAL_BACKEND), boundary: Boundary::Inside, kind: BackendKind::Local }
    }

    /// Whether it is the engine of this process.
    pub fn is_local(&self) -> bool {
        self.kind == BackendKind::Local
    }

    /// The word of `type`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            BackendKind::Local => "local",
            BackendKind::Bedrock(_) => "bedrock",
            BackendKind::OpenAi(_) => "openai",
        }
    }

    /// The model that answers, in the backend's own words; absent for the local one, whose name is that of `[model]`.
    pub fn model(&self) -> Option<&ModelId> {
        match &self.kind {
            BackendKind::Local => None,
            BackendKind::Bedrock(settings) => Some(&settings.model),
            BackendKind::OpenAi(settings) => Some(&settings.model),
        }
    }

    /// Whether its tokens cost money.
    pub fn is_paid(&self) -> bool {
        self.terms().is_some_and(|terms| !terms.prices.is_free())
    }

    /// What it costs and how long it may take; absent for the local one.
    pub fn terms(&self) -> Option<&RemoteTerms> {
        match &self.kind {
            BackendKind::Local => None,
            BackendKind::Bedrock(settings) => Some(&settings.terms),
            BackendKind::OpenAi(settings) => Some(&settings.terms),
        }
    }
}

/// What backends are checked against.
pub(super) struct BackendContext<'a> {
    /// Where keys may be.
    pub(super) environment: &'a Environment,
    /// What models cost.
    pub(super) prices: &'a PriceTable,
    /// Whether `[model]` names a model.
    pub(super) has_model: bool,
}

/// The checked backends, and what the operator should know of them.
#[derive(Debug, Default)]
pub(super) struct CheckedBackends {
    pub(super) backends: Vec<BackendConfig>,
    pub(super) warnings: Vec<KeyError>,
    /// Files whose content was read: when they change, so does the config.
    pub(super) files: Vec<PathBuf>,
}

/// Checks all of them. A local model whose backend is not listed comes last, under the name `local`: the others keep the
/// places that they have in the file.
pub(super) fn validate(
    raw: Vec<RawBackend>,
    context: &BackendContext<'_>,
) -> Result<CheckedBackends, KeyError> {
    let section = KeyPath::section("backends");
    if raw.len() > MAX_BACKENDS {
        return Err(section.item(MAX_BACKENDS).out_of_place(format!("there may be at most {MAX_BACKENDS}")));
    }
    let mut checked = CheckedBackends::default();
    let is_local_listed = raw.iter().any(|backend| backend.kind == Some(RawBackendKind::Local));
    let implied = context.has_model && !is_local_listed;
    for (backend_idx, raw) in raw.into_iter().enumerate() {
        let at = section.item(backend_idx);
        let backend = backend(raw, &at, context, &mut checked)?;
        if let Some(first_idx) = checked.backends.iter().position(|other| other.id == backend.id) {
            let first = section.item(first_idx).key("name");
            return Err(at.key("name").is(Problem::Twice { name: backend.id.to_string(), first }));
        }
        if implied && backend.id.as_str() == LOCAL_BACKEND {
            return Err(at.key("name").out_of_range("`local`", "another name: the model of [model] has it"));
        }
        if backend.is_local() && checked.backends.iter().any(BackendConfig::is_local) {
            return Err(at.key("type").out_of_range("`local` again", "local once: one engine runs here"));
        }
        checked.backends.push(backend);
    }
    if implied {
        checked.backends.push(BackendConfig::implied_local());
    }
    Ok(checked)
}

fn backend(
    mut raw: RawBackend,
    at: &KeyPath,
    context: &BackendContext<'_>,
    checked: &mut CheckedBackends,
) -> Result<BackendConfig, KeyError> {
    let id = BackendId::new(name(raw.name.take(), &at.key("name"))?);
    let Some(kind) = raw.kind else {
        return Err(at.key("type").missing("give type = \"local\", \"bedrock\" or \"openai\""));
    };
    let boundary = boundary(kind, raw.boundary, at)?;
    raw.refuse_other_keys(kind, at)?;
    let kind = match kind {
        RawBackendKind::Local if !context.has_model => {
            let mend = "`local`, but no model is named: give [model] model, or --model, or another type";
            return Err(at.key("type").out_of_range(mend, "the type of something that serves"));
        }
        RawBackendKind::Local => BackendKind::Local,
        RawBackendKind::Bedrock => {
            if boundary == Boundary::Inside {
                let expected = "outside, unless Amazon is to see private requests, too";
                checked.warnings.push(at.key("boundary").out_of_range("`inside`", expected));
            }
            BackendKind::Bedrock(bedrock::validate(raw, boundary, at, context)?)
        }
        RawBackendKind::OpenAi => BackendKind::OpenAi(openai::validate(raw, boundary, at, context, checked)?),
    };
    Ok(BackendConfig { id, boundary, kind })
}

fn boundary(kind: RawBackendKind, said: Option<RawBoundary>, at: &KeyPath) -> Result<Boundary, KeyError> {
    let at = at.key("boundary");
    match (kind, said) {
        (RawBackendKind::Local, Some(RawBoundary::Outside)) => {
            Err(at.out_of_range("`outside`", "inside: the engine of this process is"))
        }
        (RawBackendKind::OpenAi, None) => Err(at.missing(
            "say whether it computes among your own machines, boundary = \"inside\", or elsewhere, \"outside\"",
        )),
        (RawBackendKind::Local, _) | (_, Some(RawBoundary::Inside)) => Ok(Boundary::Inside),
        (RawBackendKind::Bedrock, None) | (_, Some(RawBoundary::Outside)) => Ok(Boundary::Outside),
    }
}

impl RawBackend {
    /// A key of another type would be passed over in silence.
    fn refuse_other_keys(&self, kind: RawBackendKind, at: &KeyPath) -> Result<(), KeyError> {
        use RawBackendKind::{Bedrock, Local, OpenAi};
        let remote = [Bedrock, OpenAi].as_slice();
        let given: [(&str, bool, &[RawBackendKind]); 27] = [
            ("model", self.model.is_some(), remote),
            ("context_tokens", self.context_tokens.is_some(), remote),
            ("max_output_tokens", self.max_output_tokens.is_some(), remote),
            ("price", self.price.is_some(), remote),
            ("tokens_per_minute", self.tokens_per_minute.is_some(), remote),
            ("features", self.features.is_some(), remote),
            ("features_off", self.features_off.is_some(), remote),
            ("streaming", self.streaming.is_some(), remote),
            ("connect_timeout", self.connect_timeout.is_some(), remote),
            ("first_token_timeout", self.first_token_timeout.is_some(), remote),
            ("idle_timeout", self.idle_timeout.is_some(), remote),
            ("total_timeout", self.total_timeout.is_some(), remote),
            ("region", self.region.is_some(), &[Bedrock]),
            ("aws_profile", self.aws_profile.is_some(), &[Bedrock]),
            ("endpoint_url", self.endpoint_url.is_some(), &[Bedrock]),
            ("default_max_tokens", self.default_max_tokens.is_some(), &[Bedrock]),
            ("service_tier", self.service_tier.is_some(), &[Bedrock]),
            ("json_schema", self.json_schema.is_some(), &[Bedrock]),
            ("tool_choice", self.tool_choice.is_some(), &[Bedrock]),
            ("reasoning", self.reasoning.is_some(), &[Bedrock]),
            ("output_burndown", self.output_burndown.is_some(), &[Bedrock]),
            ("urls", self.urls.is_some(), &[OpenAi]),
            ("dialect", self.dialect.is_some(), &[OpenAi]),
            ("api_key", self.has_key(), &[OpenAi]),
            ("ca_file", self.ca_file.is_some(), &[OpenAi]),
            ("headers", self.headers.is_some(), &[OpenAi]),
            ("health_interval", self.health_interval.is_some(), &[OpenAi]),
        ];
        let wrong = given.into_iter().find(|(_, is_given, kinds)| *is_given && !kinds.contains(&kind));
        match (wrong, kind) {
            (None, _) => Ok(()),
            (Some((key, ..)), Local) => Err(at
                .key(key)
                .out_of_place("the backend is of type local, which [model] and [scheduler] describe")),
            (Some((key, ..)), Bedrock) => Err(at
                .key(key)
                .out_of_place("it is a key of type openai, and the backend is of type bedrock")),
            (Some((key, ..)), OpenAi) => Err(at
                .key(key)
                .out_of_place("it is a key of type bedrock, and the backend is of type openai")),
        }
    }

    fn has_key(&self) -> bool {
        self.api_key.is_some() || self.api_key_env.is_some() || self.api_key_file.is_some()
    }
}

#[cfg(test)]
mod tests;
