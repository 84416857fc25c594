//! The suite that every log must pass.
