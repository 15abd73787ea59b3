//! One safe function for each kernel: checks shapes, computes the grid, launches.
//!
//! Names, parameters and grids are those of `kernels/cuda/ABI.md`. What indices a kernel reads from
//! device memory (tokens, slots, block tables, lengths) cannot be checked here without waiting for the
//! device: they come from the host's own batch, which was checked before it was uploaded.

pub mod attention;
pub mod cache_element;
pub mod embedding;
pub mod fill;
pub mod format;
pub mod linear;
pub mod packed;
pub mod paged;
pub mod prefill;
pub mod quantised;
pub mod read;
pub mod rows;
pub mod sampling;
pub mod stacked;
pub mod step;
