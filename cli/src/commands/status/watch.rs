//! `tipline status --watch`: every change as it is pushed, and each second for the ages.

use std::io::{self, IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use tipline_log::{Board, BoardFeed};
use tipline_ops::{Fleet, Listener};
use tokio::time::{MissedTickBehavior, interval};

use super::verdict::{Judge, show};
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::open::observer::{self as look, within};
use crate::output::report::{Failure, say};
use crate::output::stdout::OutputError;
use crate::signal;

const TICK: Duration = Duration::from_secs(1);

/// Shows the fleet until Ctrl-C.
pub(super) async fn run(place: LogLocation, judge: Judge, json: bool) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let mut screen = Screen::new(json);
    // Over interruptions too: silence is counted on one clock, from the last change.
    let mut listener = Listener::default();
    let shown = stop.run_until_cancelled(async {
        loop {
            let failure = match follow(&place, &judge, &mut listener, &mut screen).await {
                Watched::Lost(failure) => failure,
                Watched::Closed(failure) => return failure,
            };
            let fleet = judge.fleet(&place, Err(failure));
            keep_metrics(&judge, &fleet);
            screen.draw(&fleet)?;
            tokio::time::sleep(TICK).await;
        }
    });
    let shown = shown.await;
    screen.close()?;
    shown.unwrap_or(Ok(Exit::Ok))
}

/// How following ended.
enum Watched {
    /// The log is unavailable: try again.
    Lost(Failure),
    /// There is nobody to show it to any more.
    Closed(Result<Exit, Failure>),
}

async fn follow(
    place: &LogLocation,
    judge: &Judge,
    listener: &mut Listener,
    screen: &mut Screen,
) -> Watched {
    let opened = within(place, async {
        let observer = look::open(place).await?;
        let feed = observer.follow().await?;
        Ok((observer, feed))
    });
    let (mut observer, mut feed) = match opened.await {
        Ok(opened) => opened,
        Err(failure) => return Watched::Lost(failure),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut board: Option<Board> = None;
    loop {
        let change = next_change(&mut *feed, &mut ticks, &mut board);
        if let Err(error) = change.await {
            return Watched::Lost(error.into());
        }
        let Some(mut board) = board.clone() else {
            continue;
        };
        listener.listen(&mut board, Instant::now(), (judge.clock)());
        let fleet = match within(place, observer.look(board)).await {
            Ok(seen) => judge.fleet(place, Ok(seen)),
            Err(failure) => return Watched::Lost(failure),
        };
        keep_metrics(judge, &fleet);
        if let Err(error) = screen.draw(&fleet) {
            return Watched::Closed(Err(error));
        }
    }
}

/// A file that cannot be written for a while is no reason to stop watching. It grows old, which shows.
fn keep_metrics(judge: &Judge, fleet: &Fleet) {
    if let Err(failure) = judge.keep_metrics(fleet) {
        tracing::warn!(error = failure.text(), "trying again in a second");
    }
}

async fn next_change(
    feed: &mut dyn BoardFeed,
    ticks: &mut tokio::time::Interval,
    board: &mut Option<Board>,
) -> Result<(), tipline_log::LogError> {
    tokio::select! {
        changed = feed.next() => *board = Some(changed?),
        _ = ticks.tick() => {}
    }
    Ok(())
}

/// Standard output. On a terminal it is a screen of its own, redrawn in place; what was last
/// on it stays. Otherwise one picture follows the other, for every change.
struct Screen {
    json: bool,
    terminal: bool,
    shown: Option<Fleet>,
}

impl Screen {
    fn new(json: bool) -> Self {
        let terminal = stdout().is_terminal() && !json;
        Self { json, terminal, shown: None }
    }

    fn draw(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let is_first = self.shown.is_none();
        let changed = self.shown.as_ref().is_none_or(|shown| !shown.is_same_but_for_time(fleet));
        self.shown = Some(fleet.clone());
        let mut text = String::new();
        show(&mut text, fleet, self.json)?;
        Ok(self.write(&text, is_first, changed).map_err(OutputError::from)?)
    }

    fn write(&self, text: &str, is_first: bool, changed: bool) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.terminal {
            let enter = if is_first { "\x1b[?1049h\x1b[?25l" } else { "" };
            // From the top; each line clears its rest, the last what is below it.
            let lines = text.replace('\n', "\x1b[K\n");
            write!(stdout(), "{enter}\x1b[H")?;
            write!(out, "{lines}")?;
            write!(stdout(), "\x1b[J")?;
        } else if changed {
            let gap = if self.json || is_first { "" } else { "\n" };
            write!(out, "{gap}{text}")?;
        }
        out.flush()
    }

    fn close(&self) -> Result<(), Failure> {
        let Some(fleet) = self.shown.as_ref().filter(|_| self.terminal) else {
            return Ok(());
        };
        write!(stdout(), "\x1b[?25h\x1b[?1049l").map_err(OutputError::from)?;
        let mut text = String::new();
        show(&mut text, fleet, false)?;
        say(&text)?;
        Ok(())
    }
}
