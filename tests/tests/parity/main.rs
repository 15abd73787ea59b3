//! Files to tokens through a whole engine, against what Hugging Face transformers computed (`golden/README.md`).
//!
//! - `real`: real models: logits and greedy tokens.
//! - `text`: their tokenizers and chat templates.
//! - `tiny`: every tiny model and GGUF file, and the candle executor beside the decoder.
//! - `architectures`: a tiny model of every architecture, with all that it does beyond Llama.
//! - `perplexity`: how well the demo model predicts a text, beside llama.cpp.
//! - `streams`: what a client reads piece by piece is the text of all tokens.
//! - `compare`: what "equal" means.

mod architectures;
mod compare;
mod perplexity;
mod real;
mod streams;
mod text;
mod tiny;
