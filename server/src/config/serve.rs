//! The checked config of `spillway serve`, in the types of the rooms that use it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use spillway_kernels::{Quantisation, WeightType};
use spillway_models::{CandleDevice, DtypePolicy, ExecutorKind, KvCacheType, WeightsKind};
use spillway_types::{BlockSize, ModelId};

use super::hub::{HubId, HubModel};
use super::raw::{
    RawConfig, RawDtype, RawExecutor, RawKvCacheDtype, RawLog, RawLogFormat, RawModel, RawQuantization,
    RawScheduler, RawWeightType, RawWeights,
};
use super::routing::RawRouting;
use super::server::positive;
use super::{
    BackendConfig, ByteSize, ConfigError, DeviceChoice, DeviceConfig, Environment, HttpConfig, RoutingConfig,
    SecurityConfig, StorePlace, named_keys, out_of_range, prices, store,
};

/// Everything that `spillway serve` needs.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The engine of this process; absent if others serve everything.
    pub engine: Option<EngineSettings>,
    /// Who serves which name.
    pub routing: RoutingConfig,
    /// Where calls and their costs are kept.
    pub store: StorePlace,
    /// How clients reach it.
    pub http: HttpConfig,
    /// Who may ask.
    pub security: SecurityConfig,
    /// What is written on standard error.
    pub log: LogConfig,
    /// Files beside the config's own whose content was read: when one changes, so does the config.
    pub files: Vec<PathBuf>,
}

impl ServeConfig {
    /// Parts that cannot change while a server runs, and in which this one differs from `running`.
    pub(super) fn fixed_differences(&self, running: &Self) -> Vec<&'static str> {
        fn part<T: PartialEq>(
            new: &ServeConfig,
            running: &ServeConfig,
            of: fn(&EngineSettings) -> &T,
        ) -> bool {
            new.engine.as_ref().map(of) != running.engine.as_ref().map(of)
        }
        let (new, old) = (&self.security, &running.security);
        let differs = [
            ("[model]", part(self, running, |engine| &engine.model)),
            ("[device]", part(self, running, |engine| &engine.device)),
            ("[scheduler]", part(self, running, |engine| &engine.scheduler)),
            ("[server]", self.http != running.http),
            ("tls_cert and tls_key of [security]", new.tls != old.tls),
            ("allowed_origin of [security]", new.allowed_origins != old.allowed_origins),
            ("[store]", self.store != running.store),
            ("[log]", self.log != running.log),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// A model and the engine that runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineSettings {
    /// What is served.
    pub model: ModelConfig,
    /// Where it runs.
    pub device: DeviceConfig,
    /// How much the engine may hold.
    pub scheduler: SchedulerSettings,
    /// What is to break on purpose.
    #[cfg(feature = "fault-injection")]
    pub faults: Vec<super::Fault>,
}

/// What is served.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which model.
    pub choice: ModelChoice,
    /// The name by which clients ask for it, and that stands in answers.
    pub served_name: ModelId,
    /// Other names by which they may ask for it.
    pub aliases: Vec<ModelId>,
    /// What it computes with.
    pub dtype: DtypePolicy,
    /// What float matrices are rounded to when they are loaded.
    pub quantisation: Option<Quantisation>,
    /// Whose code computes.
    pub executor: ExecutorKind,
    /// Where its numbers come from.
    pub weights: WeightsKind,
}

/// Which model is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// The one that `spillway pull demo` fetches, in this cache folder.
    Demo {
        /// Folder of downloaded models.
        cache: PathBuf,
    },
    /// A file or folder.
    Path(PathBuf),
    /// A repository of a hub.
    Hub(HubModel),
}

/// How much one engine may hold. What depends on the model is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerSettings {
    /// Tokens that one KV block holds.
    pub block_size: BlockSize,
    /// Memory of the KV cache; to be found out if absent.
    pub kv_cache_memory: Option<ByteSize>,
    /// What the KV cache holds.
    pub kv_cache: KvCacheType,
    /// Most tokens of one step.
    pub max_num_batched_tokens: NonZeroU32,
    /// Most sequences running at once; at most `max_num_batched_tokens`.
    pub max_num_seqs: NonZeroU32,
    /// Most tokens of one sequence; the model's own limit if absent.
    pub max_model_len: Option<NonZeroU32>,
    /// Most requests that wait.
    pub max_waiting: NonZeroU32,
    /// Steps planned and not completed: 1 or 2.
    pub max_in_flight_steps: NonZeroU32,
    /// Whether computed beginnings of prompts are used again.
    pub prefix_caching: bool,
    /// Time after which a waiting request rises by one class; not zero.
    pub ageing_interval: Duration,
    /// A step that takes longer makes the engine unhealthy; not zero.
    pub step_timeout: Duration,
    /// A step that takes longer ends the process; at least `step_timeout`.
    pub watchdog_timeout: Duration,
    /// Longest time that the prompts in line may take; not zero.
    pub max_queue_ttft: Option<Duration>,
}

/// What is written on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Form of the lines.
    pub format: LogFormat,
    /// Levels by module.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        RawLog::default().validate()
    }
}

/// Form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl RawConfig {
    /// Checks every value.
    pub(super) fn validate(self, environment: &Environment) -> Result<ServeConfig, ConfigError> {
        self.validate_over(environment, None)
    }

    /// Checks every value. Routes are checked against the engine of `running` if there is such a config.
    pub(super) fn validate_over(
        mut self,
        environment: &Environment,
        running: Option<&ServeConfig>,
    ) -> Result<ServeConfig, ConfigError> {
        let routing = RawRouting {
            backends: std::mem::take(&mut self.backends),
            routes: std::mem::take(&mut self.routes),
            router: std::mem::take(&mut self.router),
            content_rules: std::mem::take(&mut self.content_rules),
        };
        let (http, log) = (self.server.clone().validate()?, self.log.clone().validate());
        let keys = named_keys::validate(std::mem::take(&mut self.keys))?;
        let key_file = self.security.api_key_file.clone();
        let security = std::mem::take(&mut self.security).validate(environment.api_key.clone(), keys)?;
        let (store, price_file) = (std::mem::take(&mut self.store), self.prices.file.take());
        // Others may serve instead of a local model, but somebody must.
        let engine = match self.validate_engine(environment) {
            Err(ConfigError::NoModel) if !routing.backends.is_empty() => None,
            engine => Some(engine?),
        };
        let in_force = running.map_or(engine.as_ref(), |running| running.engine.as_ref());
        let model = in_force.map(|engine| &engine.model);
        let table = prices::table(price_file.as_deref())?;
        let (routing, files) = routing.validate(model, environment, &table)?;
        let is_paid = routing.backends.iter().any(BackendConfig::is_paid);
        Ok(ServeConfig {
            store: store::validate(store, is_paid, environment)?,
            files: files.into_iter().chain(key_file).chain(price_file).collect(),
            engine,
            routing,
            http,
            security,
            log,
        })
    }

    /// Checks what the engine alone needs.
    pub(super) fn validate_engine(self, environment: &Environment) -> Result<EngineSettings, ConfigError> {
        let device = self.device.validate()?;
        Ok(EngineSettings {
            model: self.model.validate(environment, device.choice)?,
            device,
            scheduler: self.scheduler.validate()?,
            #[cfg(feature = "fault-injection")]
            faults: self.faults.validate()?,
        })
    }
}

/// The value of `--model` that is no path.
const DEMO: &str = "demo";

impl ModelChoice {
    /// What a user means by `model`. A path that exists wins over an id of a hub.
    pub(super) fn new(
        model: &str,
        revision: Option<String>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let path = PathBuf::from(model);
        let id = HubId::parse(model).filter(|_| !path.exists());
        let hub_only = |choice| match &revision {
            Some(revision) => {
                Err(ConfigError::RevisionOfPath { model: model.to_owned(), revision: revision.clone() })
            }
            None => Ok(choice),
        };
        match id {
            _ if model == DEMO => {
                hub_only(Self::Demo { cache: environment.cache_folder().ok_or(ConfigError::NoCacheFolder)? })
            }
            None => hub_only(Self::Path(path)),
            Some((id, in_id)) => match (in_id, revision) {
                (Some(in_id), Some(revision)) if in_id != revision => {
                    Err(ConfigError::TwoRevisions { in_id, revision })
                }
                (in_id, revision) => Ok(Self::Hub(HubModel::new(id, in_id.or(revision), environment.hub()?))),
            },
        }
    }

    /// The model's name when none is given: that of its file, without `.gguf`, or of its folder; its id on the hub.
    fn name(&self) -> String {
        match self {
            Self::Demo { .. } => DEMO.to_owned(),
            Self::Hub(model) => model.id.to_string(),
            Self::Path(path) => {
                let is_gguf =
                    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
                let name = if is_gguf { path.file_stem() } else { path.file_name() };
                name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
            }
        }
    }
}

impl RawModel {
    fn validate(self, environment: &Environment, device: DeviceChoice) -> Result<ModelConfig, ConfigError> {
        let model = self.model.filter(|model| !model.is_empty()).ok_or(ConfigError::NoModel)?;
        let choice = ModelChoice::new(&model, self.revision, environment)?;
        let mut names: Vec<ModelId> = Vec::new();
        for name in self.served_model_name {
            if name.trim().is_empty() {
                return Err(out_of_range("served-model-name", name, "a name"));
            }
            if names.iter().any(|other| other.as_str() == name) {
                return Err(out_of_range("served-model-name", name, "named once"));
            }
            names.push(ModelId::new(name));
        }
        let served_name = if names.is_empty() { ModelId::new(choice.name()) } else { names.remove(0) };
        Ok(ModelConfig {
            choice,
            served_name,
            aliases: names,
            dtype: match self.dtype {
                RawDtype::Auto => DtypePolicy::Auto,
                RawDtype::F32 => DtypePolicy::F32,
                RawDtype::Bf16 => DtypePolicy::Bf16,
                RawDtype::F16 => DtypePolicy::F16,
            },
            quantisation: quantisation(self.quantization),
            executor: match self.executor {
                RawExecutor::Spillway => ExecutorKind::Native,
                RawExecutor::Candle => ExecutorKind::Candle(candle_device(device)),
            },
            weights: match self.weights {
                RawWeights::Auto => WeightsKind::File,
                RawWeights::Dummy => {
                    WeightsKind::Dummy { seed: self.seed, weight_type: weight_type(self.dummy_weight_type) }
                }
            },
        })
    }
}

fn quantisation(raw: RawQuantization) -> Option<Quantisation> {
    match raw {
        RawQuantization::None => None,
        RawQuantization::Int8 => Some(Quantisation::Int8),
        RawQuantization::Int4 => Some(Quantisation::Int4),
        RawQuantization::Fp8 => Some(Quantisation::Fp8),
    }
}

/// The oracle computes on a GPU only where it is told to.
fn candle_device(choice: DeviceChoice) -> CandleDevice {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => CandleDevice::Cpu,
        DeviceChoice::Cuda { ordinal } => CandleDevice::Cuda { ordinal },
    }
}

fn weight_type(raw: RawWeightType) -> WeightType {
    match raw {
        RawWeightType::F32 => WeightType::F32,
        RawWeightType::Bf16 => WeightType::BF16,
        RawWeightType::F16 => WeightType::F16,
        RawWeightType::Q40 => WeightType::Q4_0,
        RawWeightType::Q41 => WeightType::Q4_1,
        RawWeightType::Q50 => WeightType::Q5_0,
        RawWeightType::Q51 => WeightType::Q5_1,
        RawWeightType::Q80 => WeightType::Q8_0,
        RawWeightType::Q2K => WeightType::Q2K,
        RawWeightType::Q3K => WeightType::Q3K,
        RawWeightType::Q4K => WeightType::Q4K,
        RawWeightType::Q5K => WeightType::Q5K,
        RawWeightType::Q6K => WeightType::Q6K,
    }
}

/// Most steps that may be planned ahead: a step names the tokens of the one before it, and of no earlier one.
const MAX_IN_FLIGHT_STEPS: u32 = 2;

impl RawScheduler {
    fn validate(self) -> Result<SchedulerSettings, ConfigError> {
        let block_size = BlockSize::try_from(self.block_size)
            .map_err(|_| out_of_range("block-size", self.block_size, "a power of two from 1 to 256"))?;
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ConfigError::StepTooSmall {
                max_num_batched_tokens: self.max_num_batched_tokens.get(),
                max_num_seqs: self.max_num_seqs.get(),
            });
        }
        if self.max_in_flight_steps.get() > MAX_IN_FLIGHT_STEPS {
            return Err(out_of_range("max-in-flight-steps", self.max_in_flight_steps, "1 or 2"));
        }
        if self.watchdog_timeout < self.step_timeout {
            let expected = "at least --step-timeout";
            return Err(out_of_range("watchdog-timeout", self.watchdog_timeout, expected));
        }
        Ok(SchedulerSettings {
            block_size,
            kv_cache_memory: self.kv_cache_memory,
            kv_cache: match self.kv_cache_dtype {
                RawKvCacheDtype::Auto => KvCacheType::Auto,
                RawKvCacheDtype::Bf16 => KvCacheType::Bf16,
                RawKvCacheDtype::Fp8 => KvCacheType::Fp8,
            },
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_num_seqs: self.max_num_seqs,
            max_model_len: self.max_model_len,
            max_waiting: self.max_waiting,
            max_in_flight_steps: self.max_in_flight_steps,
            prefix_caching: self.enable_prefix_caching,
            ageing_interval: positive("priority-ageing", self.priority_ageing)?,
            step_timeout: positive("step-timeout", self.step_timeout)?,
            watchdog_timeout: self.watchdog_timeout.duration(),
            max_queue_ttft: self.max_queue_ttft.map(|span| positive("max-queue-ttft", span)).transpose()?,
        })
    }
}

#[cfg(feature = "fault-injection")]
impl super::raw::RawFaults {
    fn validate(self) -> Result<Vec<super::Fault>, ConfigError> {
        let fault =
            |text: String| text.parse().map_err(|expected| out_of_range("inject-fault", text, expected));
        self.inject_fault.into_iter().map(fault).collect()
    }
}

impl RawLog {
    fn validate(self) -> LogConfig {
        let format = match self.log_format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        };
        LogConfig { format, filter: self.log_filter }
    }
}
