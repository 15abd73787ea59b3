//! The wire types: what clients send and what they get, as serde structs without logic.
//!
//! Requests hold the fields that are honoured and no others; [`fields`] is the table of every field that is known,
//! with what becomes of it. Ranges, defaults and the meaning of values are `server::http`'s matter.
//!
//! # Deliberately absent
//!
//! The domain's types are `spillway-types`; nothing here is used behind `server::http`.

pub mod fields;
pub mod openai;
pub mod route;
pub mod tokenize;
