//! Following the log and everything beside it, for the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_log::{Board, BoardFeed, Clock, Log, LogError};
use tipline_ops::dashboard::{Dashboard, KeptView, Picture};
use tipline_ops::{
    CheckState, Expectation, IdentityReview, Kept, Listener, Observer, PlaceState, Seen, exposure,
    judged,
};
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::open::log::LogLocation;
use crate::open::observer::within;
use crate::output::report::Failure;

const TICK: Duration = Duration::from_secs(1);

/// Everything that is followed.
pub(super) struct Followed {
    pub(super) place: LogLocation,
    pub(super) expected: Expectation,
    pub(super) clock: Clock,
    pub(super) checks: Receiver<Vec<CheckState>>,
    pub(super) places: Receiver<Vec<PlaceState>>,
    pub(super) identities: Receiver<IdentityReview>,
    pub(super) kept: Receiver<KeptView>,
    /// The log once it is open, for what reads it beside.
    pub(super) log: Sender<Option<Arc<dyn Log>>>,
    pub(super) dashboard: Dashboard,
}

impl Followed {
    /// Shows every change as it is pushed, and each second how old it is. While the log is
    /// unavailable it shows that, and tries again.
    pub(super) async fn for_ever(self) {
        // Over interruptions too: silence is counted on one clock, from the last change.
        let mut listener = Listener::default();
        loop {
            let failure = match self.follow(&mut listener).await {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            self.log.send_replace(None);
            self.show(Err(failure));
            sleep(TICK).await;
        }
    }

    async fn follow(&self, listener: &mut Listener) -> Result<std::convert::Infallible, Failure> {
        let opened = within(&self.place, async {
            let log = self.place.open().await?;
            let observer = Observer::new(self.place.address(), Arc::clone(&log)).await?;
            let feed = observer.follow().await?;
            Ok((log, observer, feed))
        });
        let (log, mut observer, mut feed) = opened.await?;
        self.log.send_replace(Some(log));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut board: Option<Board> = None;
        loop {
            next_change(&mut *feed, &mut ticks, &mut board).await?;
            let Some(mut board) = board.clone() else { continue };
            listener.listen(&mut board, Instant::now(), (self.clock)());
            self.show(Ok(within(&self.place, observer.look(board)).await?));
        }
    }

    fn show(&self, seen: Result<Seen, Failure>) {
        let seen = seen.map_err(|failure| self.place.not_seen(failure));
        let identities = self.identities.borrow().clone();
        let (checks, places) = (self.checks.borrow().clone(), self.places.borrow().clone());
        let kept = Kept { checks: &checks, places: &places, identities: &identities };
        let now = (self.clock)();
        let fleet = judged(seen.as_ref().map_err(Clone::clone), kept, now, &self.expected);
        let lost = seen.as_ref().ok().map(|seen| exposure(seen, now));
        if let Ok(seen) = &seen {
            self.dashboard.observe(seen);
        }
        self.dashboard.show(Picture::new(now, fleet, lost, self.kept.borrow().clone()));
    }
}

async fn next_change(
    feed: &mut dyn BoardFeed,
    ticks: &mut Interval,
    board: &mut Option<Board>,
) -> Result<(), LogError> {
    tokio::select! {
        changed = feed.next() => *board = Some(changed?),
        _ = ticks.tick() => {}
    }
    Ok(())
}
