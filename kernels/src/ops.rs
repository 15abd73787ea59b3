//! The ops of the decoder, one file each: arguments, checks, dispatch, reference, tests.
//!
//! Every op checks its arguments and then runs on the device that holds them. Zero tokens are fine:
//! nothing is computed. None of them allocates.

mod add_rms_norm;
mod attention;
mod embed;
mod experts;
mod gated_act;
mod gated_linear;
mod gather_rows;
mod linear;
mod rope_and_cache;
mod soft_cap;

#[cfg(test)]
pub(crate) mod testing;

pub use add_rms_norm::{Delta, NormArguments, add_rms_norm};
pub use attention::{AttentionArguments, attention};
pub use embed::embed;
pub use experts::{Expert, ExpertWeighting, ExpertsArguments, ExpertsLimits, ExpertsScratch, experts};
pub use gated_act::{Activation, gated_act};
pub use gated_linear::{GatedLinearArguments, gated_linear};
pub use gather_rows::gather_rows;
pub use linear::{LinearArguments, linear};
pub use rope_and_cache::{HeadNorms, RopeArguments, RopeStyle, rope_and_cache};
pub use soft_cap::soft_cap;
