//! The whole service over a backend that answers from a script: statuses, shapes, streams, and clients that leave.

mod calling;
mod errors;
mod fake;
mod fields;
mod generating;
mod leaving;
mod other;
mod routing;
