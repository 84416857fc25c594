//! The invariants of ARCHITECTURE.md that reading the sources can check.

mod circles;
mod documented;
mod libraries;
mod shape;
mod sources;
