//! The checked config of a model and the engine that runs it, in the types of the rooms that use it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use spillway_kernels::{Quantisation, WeightType};
use spillway_models::{CandleDevice, DtypePolicy, ExecutorKind, KvCacheType, WeightsKind};
use spillway_types::{BlockSize, ModelId};

use super::hub::{HubId, HubModel};
use super::raw::{
    RawConfig, RawDtype, RawExecutor, RawKvCacheDtype, RawModel, RawQuantization, RawScheduler,
    RawWeightType, RawWeights,
};
use super::server::positive;
use super::{ByteSize, ConfigError, DeviceChoice, DeviceConfig, Environment, out_of_range};

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

impl RawConfig {
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
