//! What is left of a store that was interrupted, at any instant, on real files.

mod check;
mod child;
mod killed;
mod mark;
mod process;

use std::env;

use super::history::log;
use super::{Open, Place};

pub(super) use self::child::play as play_child;
pub(super) use self::killed::killed;

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
