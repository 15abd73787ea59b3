//! Predicts how much better a strong model would answer a prompt than the local one.
//!
//! The score is the expected *gain*, `strong_correct - weak_correct`, not hardness: a prompt that both models fail is
//! hard, and yet nothing is gained by sending it away. It is read from the text alone, by a model of 1.9 MB that is part
//! of the program and that `spillway route train` can train anew on a labelled log.
//!
//! Word weights tell how likely each model is right, a forest reads their predictions together with counts of the
//! prompt's surface, and a smooth model of words and surface is added to it. A decision takes time linear in the text; of a text over 16 KiB only
//! the first and the last 8 KiB are read.
//!
//! # Deliberately absent
//!
//! No clock, no thread, no file: bytes and examples come from the caller. What a threshold is used for is the router's choice.
//!
//! In a request's path: the server asks [`GainModel::gain`] before the router picks a backend.

mod calibration;
mod error;
mod evaluation;
mod example;
mod forest;
mod model;
mod random;
mod reading;
mod ridge;
mod smooth_model;
mod stages;
mod train;
mod word_model;

pub use error::{GainError, LineFault};
pub use evaluation::{Evaluation, evaluate, evaluate_length, evaluate_oracle, evaluate_random};
pub use example::{Example, read_examples};
pub use model::GainModel;
pub use train::{MAX_EXAMPLES, MIN_EXAMPLES, TrainSettings, Trained, train};
