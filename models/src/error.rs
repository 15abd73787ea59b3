//! Everything that loading or running a model can report.

use std::path::PathBuf;

use spillway_kernels::{DType, KernelError};

use crate::batch::BatchError;

/// Why a model was not loaded, or a step not computed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The system refused a file; the path is wrong or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },

    /// The path is neither a GGUF file nor a folder with a model in it.
    #[error("{} is no model: {problem}", path.display())]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// What was looked for.
        problem: &'static str,
    },

    /// A file breaks its format's rules; it is damaged, cut short, or something else.
    #[error("{} is malformed: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the value and the limit.
        problem: String,
    },

    /// The model needs something that this build does not compute.
    #[error("{} needs {feature}, which is not supported; {supported}", path.display())]
    Unsupported {
        /// The file that asks for it.
        path: PathBuf,
        /// What it asks for.
        feature: String,
        /// What there is instead.
        supported: String,
    },

    /// The executor's own GPU code is not there, or cannot use the device.
    #[error("candle cannot compute on cuda:{ordinal}: {problem}")]
    CandleDevice {
        /// The GPU's number.
        ordinal: usize,
        /// Why, and what mends it.
        problem: String,
    },

    /// The device's cache cannot hold what it is asked to.
    #[error("a KV cache of {asked} is for GPUs, here it holds {supported}: leave --kv-cache-dtype at auto")]
    KvCacheType {
        /// What was asked for.
        asked: DType,
        /// What there is.
        supported: String,
    },

    /// The weights are not those that the configuration describes.
    #[error("{} does not hold the described model{}", path.display(), list_tensors(missing, left_over))]
    Tensors {
        /// The file or folder.
        path: PathBuf,
        /// Tensors that the model needs and that are not there, all of them.
        missing: Vec<String>,
        /// Tensors that are there and that the model does not know, all of them.
        left_over: Vec<String>,
    },

    /// A tensor does not have the shape that the configuration calls for.
    #[error("tensor `{name}` has shape {actual:?}, the configuration calls for {expected:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        actual: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
    },

    /// A limit of the caller does not fit the model.
    #[error("`{name}` is {value}, limit {limit} for this model")]
    OverLimit {
        /// The option's name.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// The most there is.
        limit: u64,
    },

    /// The batch is not well formed: a bug of its maker.
    #[error(transparent)]
    Batch(#[from] BatchError),

    /// A kernel or its device refused.
    #[error("a kernel failed")]
    Kernel(#[from] KernelError),

    /// candle refused; only the candle executor reports this.
    #[error("candle failed")]
    Candle(#[from] candle_core::Error),
}

impl ModelError {
    /// Whether no later step can succeed either, because the device is lost to this process.
    pub fn is_device_broken(&self) -> bool {
        matches!(self, Self::Kernel(error) if error.is_device_broken())
    }
}

fn list_tensors(missing: &[String], left_over: &[String]) -> String {
    let list = |label: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {label} ({}): {}", names.len(), names.join(", ")),
    };
    list("missing", missing) + &list("left over", left_over)
}
