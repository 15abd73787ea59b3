//! The engine: one thread a device, which schedules, executes, completes and publishes, over and over.
//!
//! It is the only room that knows both the scheduler and the models, and it gives neither to its callers: they hold
//! an [`EngineHandle`], send requests and read streams of events.
//!
//! # Invariants
//!
//! - The engine thread never waits for a client: events go into channels that only grow with generated tokens.
//! - Text is made on the caller's side: templates, tokenising, detokenising and stop strings cost the engine
//!   thread nothing.
//! - Every stream ends with [`GenerateEvent::Done`](spillway_types::GenerateEvent::Done) or with one error.
//!
//! In a request's path: after `backends::local`, before the scheduler and the model runner.

mod batch;
mod clock;
mod config;
mod engine_loop;
mod error;
mod executor;
mod handle;
mod load;
mod message;
mod meters;
mod prepare;
mod rate;
mod registry;
mod reply;
mod spelling;
mod stream;
mod text;
mod thread;

pub use clock::{Clock, SystemClock};
pub use config::EngineConfig;
pub use error::{EngineError, StartError};
pub use executor::{Executor, ExecutorError, RunnerExecutor, StepTicket};
pub use handle::{EngineHandle, ModelCard};
pub use load::{EngineHealth, EngineLoad};
pub use stream::EventStream;
pub use text::{TextPipeline, Today};
pub use thread::{Engine, EngineParts, EngineThread};
