//! What the program says: progress, logs, errors.

pub(crate) mod consumer;
pub(crate) mod escape;
pub(crate) mod file;
pub(crate) mod nagios;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod runbook;
pub(crate) mod stdout;
pub(crate) mod telemetry;
pub(crate) mod terminal;
