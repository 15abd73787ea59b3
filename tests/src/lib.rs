//! The rig that the tests of whole engines share: models loaded once, engines started with chosen limits, golden files.
//!
//! A [`TestModel`] is a loaded model that many engines can use one after the other; a [`TestEngine`] is an engine in this
//! process, with an executor that is watched and can be held still. Nothing here sleeps or reads a clock.
//!
//! A [`Server`] is the built binary as a process of its own, asked over real sockets by a [`Client`].
//!
//! A [`TestHub`] is a model hub on this machine, whose connections break on demand.
//!
//! A [`MiniStack`] is somebody else's emulator of AWS, which answers from an OpenAI-compatible server.
//!
//! A [`FakeBedrock`] is a cloud on this machine, whose models do what their names say.
//!
//! The tests themselves are in `tests/`: `invariance` (output does not depend on company), `parity` (golden files),
//! `simulation` (the engine over a fake executor), `http` (the built server), `bedrock` (the backend for Bedrock). The program `soak` keeps a server busy for
//! minutes and judges what it does.

mod ask;
mod client;
mod clock;
mod engine;
mod events;
mod executor;
mod fake_bedrock;
pub mod fuzz;
mod gate;
mod golden;
mod hub;
mod ministack;
mod model;
pub mod perplexity;
mod places;
mod queue;
mod real_model;
mod scrape;
mod server;
mod text;
mod variant;

pub use ask::{Answer, Ask, Choice};
pub use client::{Client, Reply};
pub use clock::ManualClock;
pub use engine::{Knobs, Served, TestEngine};
pub use events::{Event, Events, Streamed};
pub use executor::{RowRecord, StepRecord, Steps, WatchedExecutor};
pub use fake_bedrock::{Behaviour, CallEnd, FakeBedrock, LoggedCall, LoggedRequest, Moment, Refusal};
pub use gate::Gate;
pub use golden::{
    ChatCase, GoldenLogits, ParityCase, TextCase, TinyModel, architecture_models, chat_cases, parity_cases,
    text_cases, tiny_models,
};
pub use hub::{Fault, FileRequest, HubRepository, RepositoryAccess, TestHub};
pub use ministack::MiniStack;
pub use model::{LoadKnobs, TestModel};
pub use places::{architecture_model, demo_model, golden_folder, tiny_model};
pub use queue::prompts_are_tokenised;
pub use real_model::RealModel;
pub use scrape::Scrape;
pub use server::{Server, Surroundings, binary, run_to_end, run_with, within};
pub use text::TestText;
pub use variant::ModelVariant;
