//! The built server with a router before it: a real local model inside, a Bedrock on this machine outside, real signed
//! requests in between.
//!
//! Each test starts the binary for itself, with a config file of its own and a ledger in a folder of its own.

mod cloud;
mod credentials;
mod explaining;
mod faults;
mod killing;
mod overflowing;
mod private;
mod reloading;
mod spending;
mod unsure;
mod world;
