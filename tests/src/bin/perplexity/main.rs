//! Perplexity of a text by a model, as it is stored and in f32.
//!
//! ```console
//! cargo run --workspace --bin perplexity -- MODEL.gguf --context 512
//! ```
//!
//! What llama.cpp makes of the same file and text: `scripts/golden/perplexity.py measure --context 512 MODEL.gguf`.

use std::path::PathBuf;

use clap::Parser;
use spillway_models::DtypePolicy;
use spillway_tests::golden_folder;
use spillway_tests::perplexity::{Scorer, TEXT_FILE, perplexity};

/// Perplexity of a text by a model.
#[derive(Debug, Parser)]
struct Args {
    /// GGUF files, or folders of safetensors.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The text; that of the goldens if absent.
    #[arg(long)]
    text: Option<PathBuf>,
    /// Tokens of a window.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(4..))]
    context: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let text = std::fs::read_to_string(args.text.unwrap_or_else(|| golden_folder().join(TEXT_FILE)))?;
    for model in &args.models {
        let mut figures = Vec::new();
        let mut num_scored = 0;
        for dtype in [DtypePolicy::Auto, DtypePolicy::F32] {
            let mut scorer = Scorer::load(model, dtype, usize::from(args.context))?;
            let mut logprobs = Vec::new();
            for window in scorer.windows(&text)? {
                logprobs.extend(scorer.score(&window)?);
            }
            anyhow::ensure!(!logprobs.is_empty(), "the text is shorter than a window of {}", args.context);
            num_scored = logprobs.len();
            figures.push(perplexity(&logprobs));
        }
        println!(
            "{}: {num_scored} tokens scored, perplexity {:.4} as stored, {:.4} in f32",
            model.display(),
            figures[0],
            figures[1]
        );
    }
    Ok(())
}
