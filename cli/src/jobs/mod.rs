//! What runs beside a consumer, time and again.

pub(crate) mod admin;
pub(crate) mod bootstrap;
pub(crate) mod checkpoint;
pub(crate) mod checks;
pub(crate) mod every;
