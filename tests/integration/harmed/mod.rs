//! Every file of every medium, harmed while everything runs and while it is stopped: it is named
//! within seconds, or it makes no difference, or it is in the middle of what nobody reads, and a check
//! that reads it finds it. Nothing wrong is published or receipted meanwhile.

mod harm;
mod log;
mod place;
mod sources;
mod stores;
