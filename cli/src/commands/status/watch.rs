//! `tipline status --watch`: every change as it is pushed, and each second for the ages.

use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_log::{Board, BoardFeed};
use tipline_ops::{Fleet, Listener, Observer};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::live::{self, Newest, Screen};
use super::verdict::{Judge, show};
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::open::observer::within;
use crate::output::escape::printed;
use crate::output::report::{Failure, say};
use crate::output::stdout::OutputError;
use crate::signal;

const TICK: Duration = Duration::from_secs(1);

/// Shows the fleet until Ctrl-C, or until the screen is left.
pub(super) async fn run(place: LogLocation, judge: Judge, form: Form) -> Result<Exit, Failure> {
    let stop = signal::on_signal()?;
    let is_screen = form == Form::Screen && stdout().is_terminal();
    // Without a terminal that does what is asked of it there are lines.
    match is_screen.then(Screen::enter).and_then(Result::ok) {
        Some(screen) => on_screen(screen, &place, &judge, &stop).await,
        None => {
            let mut output = Output::Lines { json: form == Form::Json, shown: None };
            let watched = follow_on(&place, &judge, &mut output);
            stop.run_until_cancelled(watched).await.unwrap_or(Ok(Exit::Ok))
        }
    }
}

/// In which form it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A screen if standard output is a terminal, otherwise lines.
    Screen,
    /// Lines in any case.
    Plain,
    /// A JSON object per line.
    Json,
}

async fn on_screen(
    screen: Screen,
    place: &LogLocation,
    judge: &Judge,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let (newest, shown) = watch::channel(None);
    let mut output = Output::Live(newest.clone());
    // A look that hangs does not keep the screen from saying so.
    let ended = tokio::select! {
        ended = follow_on(place, judge, &mut output) => ended,
        left = live::show(screen, shown, place.address()) => left.map(|()| Exit::Ok),
        () = stop.cancelled() => Ok(Exit::Ok),
    };
    // What was last seen stays, after the screen.
    let last = newest.borrow().clone();
    if let Some((fleet, _)) = last {
        let mut text = String::new();
        show(&mut text, &fleet, false)?;
        say(&text)?;
    }
    ended
}

async fn follow_on(
    place: &LogLocation,
    judge: &Judge,
    output: &mut Output,
) -> Result<Exit, Failure> {
    // Over interruptions too: silence is counted on one clock, from the last change.
    let mut listener = Listener::default();
    loop {
        let failure = match follow(place, judge, &mut listener, output).await {
            Watched::Lost(failure) => failure,
            Watched::Closed(failure) => return failure,
        };
        judge.log.send_replace(None);
        let fleet = judge.fleet(place, Err(failure));
        keep_metrics(judge, &fleet);
        output.draw(&fleet)?;
        tokio::time::sleep(TICK).await;
    }
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
    output: &mut Output,
) -> Watched {
    let opened = within(place, async {
        let log = place.open().await?;
        let observer = Observer::new(place.address(), Arc::clone(&log)).await?;
        let feed = observer.follow().await?;
        Ok((log, observer, feed))
    });
    let (log, mut observer, mut feed) = match opened.await {
        Ok(opened) => opened,
        Err(failure) => return Watched::Lost(failure),
    };
    judge.log.send_replace(Some(log));
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
        if let Err(error) = output.draw(&fleet) {
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

/// Where each verdict goes: to standard output, one after the other, for every change; or to the
/// screen.
enum Output {
    Lines { json: bool, shown: Option<Box<Fleet>> },
    Live(watch::Sender<Newest>),
}

impl Output {
    fn draw(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let (json, shown) = match self {
            Output::Lines { json, shown } => (*json, shown),
            Output::Live(newest) => {
                newest.send_replace(Some((fleet.clone(), Instant::now())));
                return Ok(());
            }
        };
        let is_first = shown.is_none();
        let changed = shown.as_ref().is_none_or(|shown| !shown.is_same_but_for_time(fleet));
        *shown = Some(Box::new(fleet.clone()));
        if !changed {
            return Ok(());
        }
        let mut text = String::from(if json || is_first { "" } else { "\n" });
        show(&mut text, fleet, json)?;
        let mut out = anstream::stdout().lock();
        let written = out.write_all(printed(&text).as_bytes()).and_then(|()| out.flush());
        Ok(written.map_err(OutputError::from)?)
    }
}
