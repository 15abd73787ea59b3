//! Part of Spillway.
