//! `spillway gpu-report`: one JSON file and one Markdown table of what `scripts/gpu-check.sh` left in its folder.
//!
//! Every figure stands beside its floor: what [`spillway_models::ModelWork`] counts of a step, divided by the rates that were
//! measured on the same device in the same run. No part of a run need be there: one that is missing has no rows.

mod inputs;
mod markdown;
mod rows;

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use inputs::Inputs;

/// The whole result.
const RESULTS_JSON: &str = "results.json";
/// The tables, ready for `benches/results.md`.
const RESULTS_MARKDOWN: &str = "results.md";

/// Reads the parts' results, writes both files beside them and prints the tables.
///
/// # Errors
///
/// If a file is not what its part writes, or the folder cannot be written.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let inputs = Inputs::read(folder)?;
    let rows = rows::all(&inputs);
    let markdown = markdown::page(&inputs, &rows);
    let result = json!({
        "about": inputs.about,
        "parts": inputs.parts,
        "device": inputs.kernels["device"],
        "rates": inputs.kernels["rates"],
        "rows": rows,
        "start": inputs.start,
        "parity": inputs.selftest["parity"],
        "failed_checks": inputs.selftest["failed_checks"],
        "kernels": inputs.kernels["kernels"],
        "yardsticks": inputs.kernels["yardsticks"],
        "peer": inputs.peer,
    });
    for (name, text) in
        [(RESULTS_JSON, serde_json::to_string_pretty(&result)?), (RESULTS_MARKDOWN, markdown.clone())]
    {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    print!("{markdown}");
    Ok(())
}

#[cfg(test)]
mod tests;
