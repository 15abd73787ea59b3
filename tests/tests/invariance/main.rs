//! Output does not depend on company: neither on the batch, nor on how steps are cut, nor on what happens to the cache.
//!
//! - `matrix`: every combination of batch, chunking, cache size, warmth, block size and depth gives the tokens and the
//!   log-probabilities of a lone, undisturbed run, bit for bit, and what a cell claims to have happened did happen.
//! - `company`: random tokens, decoding against prefill, shared prompts, clients that hang up.
//! - `scoring`: the scores of prompts.
//! - `workload`: the prompts, and what they give when nothing disturbs them.

mod company;
mod matrix;
mod scoring;
mod workload;
