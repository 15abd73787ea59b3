//! The flags of every bench: which percentiles are told, and where the result goes.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::stats::Rank;

/// What is told of a measurement, and where.
#[derive(Debug, Clone, ClapArgs)]
pub struct OutputArgs {
    /// Percentiles to tell.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = default_ranks())]
    pub percentiles: Vec<Rank>,
    /// Print one JSON object for each load or shape of batch instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write the whole result to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The percentiles that are told unasked.
fn default_ranks() -> Vec<Rank> {
    ["50", "90", "99"].iter().filter_map(|rank| rank.parse().ok()).collect()
}
