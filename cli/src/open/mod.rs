//! Opening what is named: the one place that knows every kind of log, store and outbox.

pub(crate) mod admin;
pub(crate) mod audited;
pub(crate) mod health;
pub(crate) mod log;
pub(crate) mod observer;
pub(crate) mod outbox;
pub(crate) mod sources;
pub(crate) mod store;
