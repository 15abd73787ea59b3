//! The seam between the engine and whatever computes a step.
//!
//! A step is launched and collected later, so that the next one can be planned meanwhile. Steps run strictly in
//! launch order: a block that one step reads may be overwritten by any later one.

use std::any::Any;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use spillway_models::{ForwardBatch, LaunchedStep, ModelError, ModelRunner, SampledTokens};

/// Why a step has no tokens.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The model could not compute the step.
    #[error(transparent)]
    Model(#[from] ModelError),

    /// The step panicked: a bug, kept to the requests of this step.
    #[error("step panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },

    /// The answer does not fit the step: a bug of the executor.
    #[error("step of {rows} rows was answered with {answered}")]
    RowCount {
        /// Rows of the step.
        rows: usize,
        /// Rows of the answer.
        answered: usize,
    },

    /// The executor's thread has ended.
    #[error("executor has stopped")]
    Stopped,
}

impl ExecutorError {
    /// Whether no later step can succeed either, because the device is lost to this process.
    pub fn is_device_broken(&self) -> bool {
        matches!(self, Self::Model(error) if error.is_device_broken())
    }

    /// The message with those of all causes after it.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// A step that was launched and not yet collected.
#[derive(Debug, PartialEq, Eq)]
pub struct StepTicket(u64);

impl StepTicket {
    /// Numbers a launch; an executor counts its own.
    pub fn new(launch: u64) -> Self {
        Self(launch)
    }

    /// The number it was made with.
    pub fn launch(&self) -> u64 {
        self.0
    }
}

/// Computes steps, in the order in which they were launched.
pub trait Executor: Send {
    /// Begins a step and returns at once.
    ///
    /// # Errors
    ///
    /// [`ExecutorError`] if the step could not be begun; no ticket is out for it then.
    fn launch(&mut self, batch: ForwardBatch) -> Result<StepTicket, ExecutorError>;

    /// Waits for the step's tokens: 0 to k for each row of its batch. Tickets are collected in launch order.
    ///
    /// # Errors
    ///
    /// [`ExecutorError`] if the step failed; steps launched after it may still be collected.
    fn collect(&mut self, step: StepTicket) -> Result<SampledTokens, ExecutorError>;
}

/// Runs a [`ModelRunner`] on a thread of its own.
///
/// A step on a device that chooses tokens itself is only begun there: the thread goes on to the next one, and whoever
/// collects waits for the device.
///
/// A panic in a step becomes that step's error: the runner's buffers hold only values, which the next step
/// overwrites, so it can go on.
#[derive(Debug)]
pub struct RunnerExecutor {
    batches: Option<flume::Sender<ForwardBatch>>,
    results: flume::Receiver<Result<LaunchedStep, ExecutorError>>,
    num_launched: u64,
    thread: Option<JoinHandle<()>>,
}

impl RunnerExecutor {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system's error if it refuses a thread.
    pub fn start(runner: ModelRunner) -> std::io::Result<Self> {
        let (batches, batch_queue) = flume::unbounded();
        let (result_queue, results) = flume::unbounded();
        let thread = std::thread::Builder::new()
            .name("spillway-runner".to_owned())
            .spawn(move || run_batches(runner, &batch_queue, &result_queue))?;
        Ok(Self { batches: Some(batches), results, num_launched: 0, thread: Some(thread) })
    }
}

impl Executor for RunnerExecutor {
    fn launch(&mut self, batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        let sender = self.batches.as_ref().ok_or(ExecutorError::Stopped)?;
        sender.send(batch).map_err(|_| ExecutorError::Stopped)?;
        self.num_launched += 1;
        Ok(StepTicket::new(self.num_launched))
    }

    fn collect(&mut self, _step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        let launched = self.results.recv().map_err(|_| ExecutorError::Stopped)??;
        guarded(|| launched.finish().map_err(ExecutorError::Model))
    }
}

impl Drop for RunnerExecutor {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            // A panic outside a step has already closed the channels; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

fn run_batches(
    mut runner: ModelRunner,
    batches: &flume::Receiver<ForwardBatch>,
    results: &flume::Sender<Result<LaunchedStep, ExecutorError>>,
) {
    while let Ok(batch) = batches.recv() {
        let result = guarded(|| runner.launch(batch).map_err(ExecutorError::Model));
        if results.send(result).is_err() {
            return;
        }
    }
}

/// Turns a panic of an executor into an error, so that it ends a step and not a thread.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, ExecutorError>) -> Result<T, ExecutorError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|payload| Err(ExecutorError::Panicked { message: panic_message(&*payload) }))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}
