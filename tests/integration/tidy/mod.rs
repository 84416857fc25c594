//! The invariants of ARCHITECTURE.md that reading the sources can check.

#![expect(clippy::panic, reason = "what cannot be read fails the test, by name")]

mod circles;
mod documented;
mod libraries;
mod pure;
mod shape;
mod sources;
