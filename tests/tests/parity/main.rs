//! Files to tokens through a whole engine, against what Hugging Face transformers computed (`golden/README.md`).
//!
//! - `demo`: the demo model: logits, greedy tokens, and its text.
//! - `tiny`: every tiny model and GGUF file, and the candle executor beside the decoder.
//! - `architectures`: a tiny model of every architecture, with all that it does beyond Llama.
//! - `streams`: what a client reads piece by piece is the text of all tokens.
//! - `compare`: what "equal" means.

mod architectures;
mod compare;
mod demo;
mod streams;
mod tiny;
