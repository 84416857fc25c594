//! What the page is told, and when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::{History, Point};
use super::picture::{About, Picture};
use crate::verdict::Seen;

/// What pages are told. Clones are the same.
#[derive(Debug, Clone)]
pub struct Dashboard {
    about: Arc<About>,
    state: Arc<Mutex<State>>,
    /// Counts what was pushed.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    picture: Option<Picture>,
    /// When the newest point was made.
    pointed: Option<Instant>,
}

/// What a page is sent at first.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    about: &'a About,
    points: Vec<&'a Point>,
    picture: Option<&'a Picture>,
}

/// What it is sent then.
#[derive(Debug, Serialize)]
struct News<'a> {
    points: Vec<&'a Point>,
    picture: Option<&'a Picture>,
}

impl Dashboard {
    /// Nothing is known yet.
    pub fn new(about: About) -> Self {
        let (about, state) = (Arc::new(about), Arc::default());
        Self { about, state, news: watch::Sender::new(0) }
    }

    /// Takes what was seen of the log, as often as it is read.
    pub fn observe(&self, seen: &Seen) {
        self.state().history.observe(seen);
    }

    /// Shows this from now on. It is pushed if something changed, and at least every 5 s, as long as
    /// this is called so often: pages say how old the newest is.
    pub fn show(&self, picture: Picture) {
        let mut state = self.state();
        let before = state.picture.as_ref();
        let changed = before.is_none_or(|before| !before.is_same_but_for_time(&picture));
        let turned = before.is_none_or(|before| before.fleet.verdict != picture.fleet.verdict);
        let is_due = state.pointed.is_none_or(|pointed| pointed.elapsed() >= History::EVERY);
        if is_due || turned {
            state.history.add(&picture);
            state.pointed = Some(Instant::now());
        }
        if is_due || changed {
            state.picture = Some(picture);
            drop(state);
            self.news.send_modify(|number| *number = number.wrapping_add(1));
        }
    }

    /// Changes whenever something is pushed.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// All that there is, as JSON, and how many points there were until then.
    pub(super) fn snapshot(&self) -> (String, u64) {
        let state = self.state();
        let points: Vec<_> = state.history.after(0).collect();
        let (about, picture) = (&*self.about, state.picture.as_ref());
        (json(&Snapshot { about, points, picture }), state.history.added())
    }

    /// What is new after so many points, likewise.
    pub(super) fn news_after(&self, added: u64) -> (String, u64) {
        let state = self.state();
        let points: Vec<_> = state.history.after(added).collect();
        (json(&News { points, picture: state.picture.as_ref() }), state.history.added())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between any two lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every type here can be written: names are text, numbers are finite.
fn json(what: &impl Serialize) -> String {
    serde_json::to_string(what).unwrap_or_else(|error| {
        tracing::error!(%error, "internal error: the dashboard cannot be written");
        "{}".to_owned()
    })
}
