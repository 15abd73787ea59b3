//! Starting and ending an engine: its parts, its thread, its handle.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use spillway_scheduler::Scheduler;
use spillway_types::{ModelId, TokenId};

use crate::clock::Clock;
use crate::config::EngineConfig;
use crate::engine_loop::{EngineLoop, LoopParts};
use crate::error::{EngineError, StartError};
use crate::executor::Executor;
use crate::handle::{EngineHandle, ModelCard, Shared};
use crate::load::LoadCells;
use crate::message::Control;
use crate::meters::{CacheInfo, Meters};
use crate::text::TextPipeline;

/// Everything an engine is made of.
pub struct EngineParts {
    /// The served name.
    pub model: ModelId,
    /// Entries of the vocabulary.
    pub vocab_size: u32,
    /// Tokens with which the model ends an answer.
    pub end_tokens: Arc<[TokenId]>,
    /// Tokenizer and chat template.
    pub text: TextPipeline,
    /// Computes the steps.
    pub executor: Box<dyn Executor>,
    /// Limits.
    pub config: EngineConfig,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Starts engines.
pub struct Engine;

/// The running thread. Whoever holds it ends it with [`EngineThread::stop`].
#[derive(Debug)]
pub struct EngineThread {
    thread: JoinHandle<()>,
    control: flume::Sender<Control>,
    cells: Arc<LoadCells>,
}

impl Engine {
    /// Starts the thread of an engine.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the limits do not go together, or the operating system refuses a thread.
    pub fn start(parts: EngineParts) -> Result<(EngineHandle, EngineThread), StartError> {
        let scheduler_config = parts.config.scheduler;
        let max_waiting = scheduler_config.max_waiting.get();
        let (submissions, submission_queue) = flume::bounded(max_waiting as usize);
        let (control, control_queue) = flume::unbounded();
        let cells = Arc::new(LoadCells::default());
        let cache = CacheInfo {
            block_size: scheduler_config.block_size.tokens(),
            num_blocks: scheduler_config.num_blocks.get(),
            dtype: &parts.config.cache_dtype,
        };
        let meters = Meters::new(&parts.model, cache);
        let engine_loop = EngineLoop::new(LoopParts {
            scheduler: Scheduler::new(scheduler_config)?,
            executor: parts.executor,
            meters,
            cells: Arc::clone(&cells),
            clock: Arc::clone(&parts.clock),
            max_queue_ttft: parts.config.max_queue_ttft,
            submissions: submission_queue,
            control: control_queue,
        });
        let thread = std::thread::Builder::new()
            .name("spillway-engine".to_owned())
            .spawn(move || engine_loop.run())?;
        let shared = Arc::new(Shared {
            card: ModelCard {
                id: parts.model,
                max_model_len: scheduler_config.max_model_len.get(),
                vocab_size: parts.vocab_size,
                block_tokens: scheduler_config.block_size.tokens(),
                max_num_seqs: scheduler_config.max_num_seqs.get(),
                end_tokens: parts.end_tokens,
            },
            text: parts.text,
            cells: Arc::clone(&cells),
            clock: parts.clock,
            step_overdue_after: parts.config.step_overdue_after,
            max_waiting,
        });
        let handle = EngineHandle { submissions, control: control.clone(), shared };
        Ok((handle, EngineThread { thread, control, cells }))
    }
}

impl EngineThread {
    /// Takes no more requests, finishes those that are there until `deadline` on the engine's clock, aborts the
    /// rest, and waits for the thread. Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the thread had panicked.
    pub fn stop(self, deadline: Duration) -> Result<(), EngineError> {
        self.cells.set_draining();
        // A thread that has ended already needs no word.
        let _ = self.control.send(Control::Stop { deadline });
        self.thread.join().map_err(|_| EngineError::Stopped)
    }
}
