//! `cargo xtask tidy`: what the house style asks for and no other tool checks.
//!
//! Each check returns its complaints; all are printed before the task fails, so that one run shows everything.

mod arrows;
mod files;
mod kernels;
mod lengths;
mod licences;
mod unsafety;

use anyhow::bail;

use crate::sources;

/// Runs every check and prints the longest files and functions.
pub(crate) fn run() -> anyhow::Result<()> {
    let sources = sources::read_all()?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(sources::root()?.join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .or_else(|_| cargo_metadata::MetadataCommand::new().exec())?;
    let checks: [(&str, Vec<String>); 6] = [
        ("arrows", arrows::check(&metadata)),
        ("licences", licences::check(&metadata)),
        ("headers", files::missing_headers(&sources)),
        ("leftovers", files::leftovers(&sources)),
        ("unsafe", unsafety::check(&sources)),
        ("kernel twins", kernels::check(&sources)),
    ];
    let mut num_complaints = 0;
    for (name, complaints) in &checks {
        println!("tidy: {name}: {}", if complaints.is_empty() { "ok" } else { "FAILED" });
        for complaint in complaints {
            println!("  {complaint}");
        }
        num_complaints += complaints.len();
    }
    lengths::print(&sources);
    if num_complaints > 0 {
        bail!("tidy found {num_complaints} things to mend");
    }
    Ok(())
}
