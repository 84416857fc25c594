//! What is left of a store that was interrupted, at any instant, on real files.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the recorder is for Linux; elsewhere processes are killed only")
)]

#[cfg(target_os = "linux")]
mod aftermath;
mod check;
mod child;
mod copies;
#[cfg(target_os = "linux")]
mod disk;
mod endure;
#[cfg(target_os = "linux")]
mod failing;
mod fault;
#[cfg(target_os = "linux")]
mod file;
mod killed;
mod mark;
#[cfg(target_os = "linux")]
mod power_cut;
mod process;
mod reached;
#[cfg(target_os = "linux")]
mod recorder;
#[cfg(target_os = "linux")]
mod recording;
#[cfg(target_os = "linux")]
mod trace;

use std::env;

use super::history::log;
use super::{Open, Place};

pub(super) use self::child::play as play_child;
#[cfg(target_os = "linux")]
pub(super) use self::failing::failing_writes;
pub(super) use self::killed::killed;
#[cfg(target_os = "linux")]
pub(super) use self::power_cut::power_cut;
#[cfg(target_os = "linux")]
pub use self::recording::{Left, Promises, Recording};

/// How much of something is done, where the environment does not say otherwise.
fn amount(variable: &str, default: usize) -> usize {
    let said = env::var(variable).ok();
    said.map_or(default, |said| {
        said.parse().unwrap_or_else(|_| panic!("{variable} is {said:?}, not a number"))
    })
}

/// Shown if what follows panics.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}
