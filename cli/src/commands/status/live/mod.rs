//! `tipline status --watch` on a terminal: the fleet as it is now, redrawn in place.

mod consumers;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::Style;
use ratatui::widgets::{Block, Paragraph};
use tipline_ops::Fleet;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

pub(super) use self::screen::Screen;
use self::state::Live;
use crate::output::report::Failure;
use crate::output::stdout::OutputError;

/// Ages grow while nothing is heard.
const TICK: Duration = Duration::from_secs(1);

/// What the log said when it was last read, or why it was not.
pub(super) type Newest = Option<(Fleet, Instant)>;

/// Shows the newest until somebody quits.
pub(super) async fn show(
    mut screen: Screen,
    mut newest: watch::Receiver<Newest>,
    address: String,
) -> Result<(), Failure> {
    let mut live = Live::new(address, Instant::now());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let draw = |frame: &mut Frame<'_>| draw(frame, &mut live, Instant::now());
        screen.terminal.draw(draw).map_err(OutputError::from)?;
        tokio::select! {
            _ = ticks.tick() => live.sample(Instant::now()),
            changed = newest.changed() => {
                // Whoever reads the log is gone: what is wrong is said by it.
                if changed.is_err() {
                    return Ok(());
                }
                if let Some((fleet, at)) = newest.borrow_and_update().clone() {
                    live.note(fleet, at);
                }
            }
            Some(event) = screen.events.recv() => if is_over(&event, &mut live) {
                return Ok(());
            },
        }
    }
}

/// Whether it ends the view. Anything else moves it, or only draws it again.
fn is_over(event: &Event, live: &mut Live) -> bool {
    let Event::Key(key) = event else { return false };
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return true,
        KeyCode::Char('q' | 'Q') => return true,
        KeyCode::Down | KeyCode::Char('j') => live.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => live.scroll(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => live.scroll(10),
        KeyCode::PageUp => live.scroll(-10),
        KeyCode::Home => live.scroll(isize::MIN),
        _ => {}
    }
    false
}

/// The whole screen: the head stays, what is below it is scrolled, the last line says how to quit.
fn draw(frame: &mut Frame<'_>, live: &mut Live, now: Instant) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let shown = view::lines(live, width, height, now);
    // What was there before is wiped: a narrow screen has fewer cells than lines.
    frame.render_widget(Block::new().style(Style::reset()), area);
    frame.render_widget(Paragraph::new(shown), area);
}
