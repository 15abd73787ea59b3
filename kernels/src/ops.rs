//! The ops of the decoder, one file each: arguments, checks, dispatch, reference, tests.
//!
//! Every op checks its arguments and then runs on the device that holds them. Zero tokens are fine:
//! nothing is computed. None of them allocates.

mod add_rms_norm;
mod attention;
mod embed;
mod gated_act;
mod gather_rows;
mod linear;
mod rope_and_cache;

#[cfg(test)]
pub(crate) mod testing;

pub use add_rms_norm::{NormArguments, add_rms_norm};
pub use attention::{AttentionArguments, attention};
pub use embed::embed;
pub use gated_act::gated_act;
pub use gather_rows::gather_rows;
pub use linear::{LinearArguments, linear};
pub use rope_and_cache::{RopeArguments, RopeStyle, rope_and_cache};
