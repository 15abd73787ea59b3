//! `[faults]`: what is to break on purpose. Not in builds that users get.

use serde::{Deserialize, Serialize};

/// `[faults]`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Faults: keys of [faults]")]
pub(in crate::config) struct RawFaults {
    /// What breaks and when, as in panic@token=300 or panic@template; give it again for more.
    #[arg(long, value_name = "FAULT", hide = true)]
    pub(in crate::config) inject_fault: Vec<String>,
}
