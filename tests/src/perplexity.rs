//! How well a model predicts a fixed text: one number that shows whether a quantised type is computed as it should be.
//!
//! The text is cut into windows, each computed as a sequence of its own; the tokens of a window's second half are scored.
//! llama.cpp is asked in the same way by `scripts/golden/perplexity.py`, and what it answered for the demo model is in
//! `golden/perplexity.json`.

use std::path::Path;

use spillway::model_text::{self, MissingTokenizer};
use spillway_kernels::{CpuOptions, Device};
use spillway_models::{
    BatchRow, DtypePolicy, ExecutorKind, ForwardBatch, InputToken, KvCache, KvCacheType, LoadOptions,
    ModelRunner, ModelSource, RowScoring, WeightsKind, load,
};
use spillway_text::{Ends, Tokenizer};
use spillway_types::{BlockId, BlockSize, SeqId, TokenId, TopLogprobs};

use crate::golden;
use crate::places::golden_folder;

/// The text of the goldens.
pub const TEXT_FILE: &str = "perplexity.txt";

/// A model that scores windows of one length.
pub struct Scorer {
    runner: ModelRunner,
    tokenizer: Tokenizer,
    num_blocks: u32,
    context: usize,
}

impl Scorer {
    /// Loads a folder or a GGUF file for windows of `context` tokens.
    ///
    /// # Errors
    ///
    /// Whatever keeps the model from being loaded.
    pub fn load(path: &Path, dtype: DtypePolicy, context: usize) -> anyhow::Result<Self> {
        let device = Device::cpu(&CpuOptions::default())?;
        let tokens = u32::try_from(context)?;
        let options = LoadOptions {
            device: device.clone(),
            dtype,
            quantisation: None,
            executor: ExecutorKind::Native,
            kv_cache: KvCacheType::Auto,
            weights: WeightsKind::File,
            max_num_batched_tokens: tokens,
            max_num_seqs: 1,
            max_model_len: Some(tokens),
        };
        let loaded = load(&ModelSource::from_path(path)?, &options)?;
        let text = model_text::build(loaded.text, MissingTokenizer::Refuse)?;
        let block_size = BlockSize::try_from(16)?;
        let num_blocks = tokens.div_ceil(block_size.tokens());
        let kv = KvCache::new(&device, &loaded.kv_layout, block_size, num_blocks)?;
        let runner = ModelRunner::new(loaded.model, kv, loaded.runner_limits);
        Ok(Self { runner, tokenizer: text.tokenizer, num_blocks, context })
    }

    /// Whole windows of a text. Where prompts begin with a token, it takes the place of a window's first.
    ///
    /// # Errors
    ///
    /// If the text cannot be tokenised.
    pub fn windows(&self, text: &str) -> anyhow::Result<Vec<Vec<TokenId>>> {
        let plain = self.tokenizer.encode_text(text, Ends::Omit)?;
        let ended = self.tokenizer.encode_text(text, Ends::Add)?;
        let start = (ended.first() != plain.first()).then(|| ended[0]);
        let mut windows: Vec<Vec<TokenId>> =
            plain.chunks_exact(self.context).map(<[TokenId]>::to_vec).collect();
        if let Some(start) = start {
            for window in &mut windows {
                window[0] = start;
            }
        }
        Ok(windows)
    }

    /// The natural logarithms of the probabilities of the second half's tokens.
    ///
    /// # Errors
    ///
    /// If the window is no window of this length, or its logits are not finite.
    pub fn score(&mut self, window: &[TokenId]) -> anyhow::Result<Vec<f32>> {
        anyhow::ensure!(window.len() == self.context, "a window of {} tokens", window.len());
        let num_tokens = window.len() as u32 - 1;
        let targets = window[window.len() / 2 + 1..].to_vec();
        let score = RowScoring { targets: 0..targets.len() as u32, top: TopLogprobs::NONE };
        let batch = ForwardBatch {
            tokens: window[..window.len() - 1].iter().map(|&token| InputToken::Known(token)).collect(),
            positions: (0..num_tokens).collect(),
            rows: vec![BatchRow {
                seq_id: SeqId(0),
                tokens: 0..num_tokens,
                kv_len: num_tokens,
                blocks: 0..self.num_blocks,
                score: Some(score),
                sample: None,
            }],
            block_ids: (0..self.num_blocks).map(BlockId).collect(),
            targets,
            ..ForwardBatch::default()
        };
        let mut output = self.runner.run(&batch)?;
        let row = output.rows.remove(0)?;
        Ok(row.scored.iter().map(|scored| scored.logprob).collect())
    }
}

/// Of tokens with these log-probabilities.
pub fn perplexity(logprobs: &[f32]) -> f64 {
    let sum: f64 = logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
    (-sum / logprobs.len() as f64).exp()
}

/// What llama.cpp makes of a few windows of the demo model.
#[derive(Debug, Clone)]
pub struct PerplexityGolden {
    /// Tokens of the whole text.
    pub num_text_tokens: usize,
    /// The windows, in order.
    pub windows: Vec<Vec<TokenId>>,
    /// Of their second halves, taken together.
    pub perplexity: f64,
}

/// The golden of the demo model.
pub fn perplexity_golden() -> PerplexityGolden {
    let value = golden::read(&golden_folder().join("perplexity.json"));
    let windows = golden::list(&value["windows"]).iter();
    PerplexityGolden {
        num_text_tokens: golden::number(&value["num_text_tokens"]) as usize,
        windows: windows.map(|window| golden::ids(window).into_iter().map(TokenId).collect()).collect(),
        perplexity: golden::number(&value["perplexity"]),
    }
}
