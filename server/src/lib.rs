//! The server: config in, a listening HTTP service out.
//!
//! Everything that can be reached without HTTP lives in the other rooms; this one reads files, flags and the
//! environment, puts the rooms together and speaks HTTP.

pub mod app;
pub mod config;
mod http;
mod model_store;
pub mod model_text;
mod routing;
