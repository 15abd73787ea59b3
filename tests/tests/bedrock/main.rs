//! The backend for Bedrock against a Bedrock on this machine: AWS's own SDK over real sockets, no fault left out.
//!
//! Nothing sleeps: models that hold still are released, and waits that must run out are set to milliseconds.

mod answering;
mod asking;
mod charging;
mod failing;
mod ministack;
mod rig;
