//! The backend over a connection that records requests and answers with given bytes: no network, the SDK's own code.

mod canned;
mod mapping;
mod reading;
mod refusing;
