//! What a process logs, changed while it runs.

use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process logs. Whoever started logging gives the function that changes it.
#[derive(Clone)]
pub struct LogLevel(Arc<Shared>);

struct Shared {
    apply: Box<Apply>,
    started: String,
    now: Mutex<String>,
}

type Apply = dyn Fn(&str) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

impl LogLevel {
    /// Of a process that began with `started`. `apply` changes it to another one, or to that; what it
    /// fails with is said to whoever asked, and nothing has changed.
    pub fn new<E: Error + Send + Sync + 'static>(
        started: &str,
        apply: impl Fn(&str) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let apply = Box::new(move |level: &str| Ok(apply(level)?));
        let (started, now) = (started.to_owned(), Mutex::new(started.to_owned()));
        Self(Arc::new(Shared { apply, started, now }))
    }

    /// What it began with.
    pub(super) fn started(&self) -> &str {
        &self.0.started
    }

    /// What is logged now.
    pub(super) fn now(&self) -> String {
        self.level().clone()
    }

    /// Logs this from now on; what it began with if it is `None`.
    pub(super) fn change(&self, level: Option<&str>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let level = level.unwrap_or(&self.0.started);
        // One change at a time: what is said is what is so.
        let mut now = self.level();
        (self.0.apply)(level)?;
        let before = std::mem::replace(&mut *now, level.to_owned());
        drop(now);
        tracing::info!(level, before, "the log level was changed");
        Ok(())
    }

    fn level(&self) -> MutexGuard<'_, String> {
        // What is in it is whole at any instant.
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.now()).finish()
    }
}
