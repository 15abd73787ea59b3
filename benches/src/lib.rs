//! The bench harness: measures servers over HTTP, ours and any other that speaks OpenAI's protocol.
//!
//! It knows nothing of the engine: what it prints is what a client sees. Results that were kept, and what lost,
//! stand in `benches/results.md`.

pub mod serve;
