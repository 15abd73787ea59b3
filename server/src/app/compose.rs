//! Builds what serves requests from a checked config: backends, router, models, keys. Again at every change of the config.
//!
//! # Invariants
//!
//! - A backend whose config did not change is kept, with its connections and its counts.
//! - What the router remembers (breakers, sessions, spending) outlives a change.

mod gain;
mod idle;
mod remote;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, bail};
use spillway_backends::LocalBackend;
use spillway_engine::EngineHandle;
use spillway_router::{Backend, BackendId, Ledger, Memory, Route, Router, RouterParts, Runtime};
use spillway_types::ModelId;

use idle::IdleBackend;

use crate::config::{BackendConfig, BackendKind, ServeConfig};
use crate::http::{ModelText, Routing, SamplingDefaults, ServedModel, WallClock};
use crate::routing::RouterMetrics;

/// The model of this process.
pub(super) enum LocalModel {
    /// There is none.
    Absent,
    /// An engine runs it.
    Running {
        /// The engine.
        engine: EngineHandle,
        /// What requests get that do not say how to sample.
        defaults: SamplingDefaults,
    },
    /// Nobody runs it: it only counts, as one with nothing to do.
    Idle(ModelId),
}

/// What a config is put together with.
pub(super) struct Composer {
    local: LocalModel,
    ledger: Arc<dyn Ledger>,
    runtime: Arc<dyn Runtime>,
    memory: Arc<Memory>,
    clock: WallClock,
    /// What was built for the config in force.
    built: HashMap<BackendId, Built>,
}

/// A backend, and what it was built from.
#[derive(Clone)]
struct Built {
    config: BackendConfig,
    backend: Arc<dyn Backend>,
    /// The same, if it is the engine of this process.
    local: Option<Arc<LocalBackend>>,
}

impl Composer {
    /// With nothing built yet.
    pub(super) fn new(
        local: LocalModel,
        ledger: Arc<dyn Ledger>,
        runtime: Arc<dyn Runtime>,
        clock: WallClock,
    ) -> Self {
        let (memory, built) = (Arc::default(), HashMap::new());
        Self { local, ledger, runtime, memory, clock, built }
    }

    /// Everything that requests need. Nothing changes if it fails.
    pub(super) async fn compose(&mut self, config: &ServeConfig) -> anyhow::Result<Routing> {
        let mut built = HashMap::with_capacity(config.routing.backends.len());
        for backend in &config.routing.backends {
            let kept = self.built.get(&backend.id).filter(|built| built.config == *backend).cloned();
            let kept = match kept {
                Some(kept) => kept,
                None => self
                    .build(backend)
                    .await
                    .with_context(|| format!("backend `{}` cannot be used", backend.id))?,
            };
            built.insert(backend.id.clone(), kept);
        }
        let backends = config.routing.backends.iter().filter_map(|backend| built.get(&backend.id));
        let router = Router::new(RouterParts {
            backends: backends.map(|built| Arc::clone(&built.backend)).collect(),
            routes: config.routing.routes.clone(),
            settings: config.routing.settings.clone(),
            runtime: Arc::clone(&self.runtime),
            ledger: Arc::clone(&self.ledger),
            observer: Arc::new(RouterMetrics),
            gain: gain::estimator(config.routing.gain_model.as_deref(), &config.routing.routes)?,
            memory: Arc::clone(&self.memory),
        })?;
        let models = config.routing.routes.iter().map(|route| self.served(route, &built)).collect();
        self.built = built;
        Ok(Routing {
            router,
            models,
            api_keys: config.security.api_keys.clone(),
            content_rules: config.routing.content_rules.clone(),
        })
    }

    async fn build(&self, config: &BackendConfig) -> anyhow::Result<Built> {
        let (backend, local): (Arc<dyn Backend>, _) = match &config.kind {
            BackendKind::Local => match &self.local {
                LocalModel::Absent => bail!("no local model is named: give --model"),
                LocalModel::Running { engine, .. } => {
                    let local = Arc::new(LocalBackend::new(config.id.clone(), engine.clone()));
                    (Arc::clone(&local) as Arc<dyn Backend>, Some(local))
                }
                LocalModel::Idle(model) => {
                    (Arc::new(IdleBackend::new(config.id.clone(), model.clone())) as Arc<dyn Backend>, None)
                }
            },
            BackendKind::Bedrock(settings) => {
                (Arc::new(remote::bedrock(config, settings).await?) as Arc<dyn Backend>, None)
            }
            BackendKind::OpenAi(settings) => {
                (Arc::new(remote::compatible(config, settings)?) as Arc<dyn Backend>, None)
            }
        };
        Ok(Built { config: config.clone(), backend, local })
    }

    /// A route as clients see it: a model, with the tokenizer and the habits of the local one if that may serve it.
    fn served(&self, route: &Route, built: &HashMap<BackendId, Built>) -> ServedModel {
        let targets: Vec<&Built> = route.targets.iter().filter_map(|id| built.get(id)).collect();
        let local = targets.iter().find_map(|built| built.local.as_ref());
        let contexts = targets.iter().map(|built| built.backend.snapshot().capabilities.context_tokens);
        // The longest prompt that anybody takes; unknown if somebody does not say.
        let max_model_len = contexts.collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().max());
        let names: HashSet<_> = route.models.iter().skip(1).collect();
        let mut aliases: Vec<_> = names.into_iter().cloned().collect();
        aliases.sort_by_key(|alias| route.models.iter().position(|model| model == alias));
        ServedModel {
            id: route.models[0].clone(),
            aliases,
            created: (self.clock)(),
            max_model_len,
            defaults: match &self.local {
                LocalModel::Running { defaults, .. } if local.is_some() => *defaults,
                LocalModel::Running { .. } | LocalModel::Idle(_) | LocalModel::Absent => {
                    SamplingDefaults::default()
                }
            },
            text: local.map(|local| Arc::clone(local) as Arc<dyn ModelText>),
        }
    }
}
