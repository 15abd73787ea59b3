//! The built server over real sockets: what clients and operators can see of it.
//!
//! Each test starts the binary for itself, so none depends on another. Most serve a tiny random model, whose text is
//! noise and whose answers come at once; `demo` serves the model that users meet first.
//!
//! Not here: statuses and shapes that need a broken backend, and keep-alive comments, which need a stopped clock. They
//! are tested beside the code, in `server/src/http/tests`.

mod benching;
mod breaking;
mod checking;
mod closing;
mod compatible;
mod deadlines;
mod demo;
mod endpoints;
mod errors;
mod generating;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod gpu_check;
mod hanging;
mod hub;
mod keys;
mod leaving;
mod patience;
mod ports;
mod queueing;
mod requests;
mod seeds;
mod starting;
mod stopping;
