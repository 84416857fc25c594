use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use tipline_ops::testing::{NOW, at, block, expectation, receipt, seen, unwell};
use tipline_ops::{Fleet, Seen, assess, unreadable};
use tipline_proto::{Level, Reached, Role};

use super::state::Live;
use super::{Screen, draw, is_over};
use crate::output::terminal;

const ADDRESS: &str = "nats://127.0.0.1:4222/mainnet";

fn fleet(change: impl Fn(&mut Seen)) -> Fleet {
    let mut seen = seen();
    change(&mut seen);
    assess(&seen, NOW, &expectation())
}

fn gone() -> Fleet {
    unreadable(ADDRESS.to_owned(), "the log does not answer: connection refused".to_owned(), None)
}

fn drawn(live: &mut Live, width: u16, height: u16, now: Instant) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, live, now)).unwrap();
    terminal
}

/// The rows of the screen, without what is empty at their ends.
fn screen(live: &mut Live, width: u16, height: u16, now: Instant) -> Vec<String> {
    let terminal = drawn(live, width, height, now);
    let cells = terminal.backend().buffer().content().chunks(usize::from(width));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let row: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned()
    };
    cells.map(row).collect()
}

fn live(fleet: Fleet, now: Instant) -> Live {
    let mut live = Live::new(ADDRESS.to_owned(), now);
    live.note(fleet, now);
    live
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_fleet_that_is_well_fits_on_a_small_screen() {
    let now = Instant::now();
    let mut live = live(fleet(|_| {}), now);
    for lag in [0, 1, 9, 3] {
        live.note(
            fleet(|seen| {
                seen.board.receipts[1].reached = Reached::up_to(at(20 - lag), Level::Durable);
            }),
            now,
        );
        live.sample(now);
    }
    live.note(fleet(|_| {}), now);
    let shown = screen(&mut live, 80, 24, now);
    let expected = " WELL  every block up to 1,014 is in 1 replica and 1 backup

log       nats://127.0.0.1:4222/mainnet
tip       block 1,015, proofs up to 1,010, 5 behind, event 20, epoch 3
primary   node-1 well, outbox empty, heard 2.0 s ago
lost now  with the primary: nothing; with the log, too: nothing

NAME ";
    assert!(shown.join("\n").starts_with(expected), "{}", shown.join("\n"));
    let row = shown.iter().find(|row| row.starts_with("replica-1")).unwrap();
    assert!(row.contains("1 block, 1 event, 1.0 s") && row.ends_with("▁▂█▃"), "{row}");
    let head = shown.iter().find(|row| row.starts_with("NAME")).unwrap();
    let columns = ["NAME", "STATE", "LEVEL", "BLOCK", "PROOF", "BEHIND", "RECEIPT", "LAG"];
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), columns);
    assert_eq!(shown[23], "q quits");
}

#[test]
fn what_a_consumer_says_is_shown_and_not_obeyed() {
    let now = Instant::now();
    let mut live = live(
        fleet(|seen| {
            seen.board.receipts[1].failure =
                Some("a\u{202e}b\u{1b}[2J\u{9b}\nprimary  ok".to_owned());
        }),
        now,
    );
    let shown = screen(&mut live, 120, 40, now).join("\n");
    let failed = "failed    replica-1: a\\u202eb\\u001b[2J\\u009b\\nprimary ok";
    assert!(shown.contains(failed) && !shown.contains('\u{202e}'), "{shown}");
}

/// What was seen is shown with its age, and never as what is.
#[test]
fn what_is_old_is_never_shown_as_new() {
    let start = Instant::now();
    let mut live = live(fleet(|_| {}), start);
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(screen(&mut live, 80, 24, after(2))[0].starts_with(" WELL "));
    live.sample(after(2));
    // A look that hangs is not an error yet.
    let shown = screen(&mut live, 80, 24, after(4)).join("\n");
    assert!(
        shown.starts_with(" CUT OFF  for 4.0 s: nats://127.0.0.1:4222/mainnet does not"),
        "{shown}"
    );
    assert!(!shown.contains("WELL"), "{shown}");
    assert!(shown.contains("Nothing below is new: it is as it was 4.0 s ago."), "{shown}");
    assert!(shown.contains("heard 6.0 s ago"), "{shown}");
    live.note(gone(), after(10));
    live.sample(after(10));
    let old = drawn(&mut live, 80, 24, after(70));
    let shown = screen(&mut live, 80, 24, after(70)).join("\n");
    let why = " CUT OFF  for 70 s: the log does not answer: connection refused";
    assert!(shown.starts_with(why) && shown.contains("heard 72 s ago"), "{shown}");
    assert!(shown.contains("▁·"), "{shown}");
    // All below is dim, and has no colour of its own.
    let cells = old.backend().buffer().content()[80 * 3..80 * 23].iter();
    let is_told = |cell: &ratatui::buffer::Cell| cell.symbol() != " ";
    let is_dim = |cell: &ratatui::buffer::Cell| {
        cell.modifier.contains(Modifier::DIM) && cell.fg == Color::Reset
    };
    assert!(cells.filter(|cell| is_told(cell)).all(is_dim));
    live.note(fleet(|_| {}), after(71));
    assert!(screen(&mut live, 80, 24, after(71))[0].starts_with(" WELL "));
}

#[test]
fn a_log_that_was_never_read_is_waited_for() {
    let start = Instant::now();
    let mut live = Live::new(ADDRESS.to_owned(), start);
    let shown = screen(&mut live, 60, 10, start + seconds(12));
    assert_eq!(shown[0], " WAITING  for an answer of nats://127.0.0.1:4222/mainnet,");
    assert_eq!(shown[1].trim(), "for 12 s");
    live.note(gone(), start + seconds(13));
    let shown = screen(&mut live, 80, 10, start + seconds(13)).join("\n");
    assert!(shown.contains("connection refused") && !shown.contains("Nothing below"), "{shown}");
}

#[test]
fn a_finding_is_said_with_what_to_do() {
    let now = Instant::now();
    let silent = fleet(|seen| seen.board.receipts[1].time = tipline_ops::testing::seconds_ago(75));
    let shown = screen(&mut live(silent, now), 100, 24, now);
    assert!(shown[0].starts_with(" DEGRADED  replica-1 is silent for 75 s"), "{}", shown[0]);
    // The worst first.
    let rows = shown.iter().position(|row| row.starts_with("NAME")).unwrap();
    assert!(shown[rows + 1].starts_with("replica-1"), "{shown:?}");
    let finding = shown.iter().position(|row| row == "! replica-1 is silent for 75 s").unwrap();
    assert!(shown[finding + 1].starts_with("  to do   Restart it."), "{}", shown[finding + 1]);
}

#[test]
fn what_would_be_lost_is_what_nobody_has_durably() {
    let now = Instant::now();
    let fleet = fleet(|seen| {
        seen.board.receipts = vec![receipt("backup-1", Role::Backup, 17, 1013)];
        seen.times.insert(18, tipline_ops::testing::seconds_ago(9));
        seen.board.primary.as_mut().unwrap().outbox_events = 4;
    });
    let shown = screen(&mut live(fleet, now), 80, 24, now).join("\n");
    // By the primary's clock, which was read two seconds ago.
    let lost = "lost now  with the primary: 4 events; with the log, too: 7 events of ";
    assert!(shown.contains(lost), "{shown}");
}

#[test]
fn a_narrow_screen_has_fewer_columns_and_no_half_words() {
    let now = Instant::now();
    let mut live = live(fleet(|_| {}), now);
    let shown = screen(&mut live, 34, 24, now);
    let head = shown.iter().find(|row| row.starts_with("NAME")).unwrap();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["NAME", "STATE", "BLOCK"]);
    let wide = screen(&mut live, 160, 24, now);
    let head = wide.iter().find(|row| row.starts_with("NAME")).unwrap();
    assert!(head.contains("ROLE") && head.ends_with("LAG 30 s"), "{head}");
}

#[test]
fn more_than_there_is_room_for_is_scrolled_to() {
    let now = Instant::now();
    let many = fleet(|seen| {
        seen.board.receipts =
            (10..60).map(|n| receipt(&format!("replica-{n}"), Role::Replica, 20, 1015)).collect();
    });
    let mut live = live(many, now);
    let shown = screen(&mut live, 80, 20, now);
    assert!(shown[19].starts_with("q quits   ↑↓ scroll: lines 1 to 17 of "), "{}", shown[19]);
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    for _ in 0..100 {
        assert!(!is_over(&key(KeyCode::PageDown), &mut live));
    }
    let shown = screen(&mut live, 80, 20, now).join("\n");
    assert!(shown.contains("replica-59") && shown.starts_with(" WELL "), "{shown}");
    assert!(!is_over(&key(KeyCode::Home), &mut live));
    assert!(screen(&mut live, 80, 20, now).join("\n").contains("replica-10"));
}

#[test]
fn q_and_ctrl_c_end_it_and_nothing_else_does() {
    let mut live = Live::new(ADDRESS.to_owned(), Instant::now());
    let key = |code, with| Event::Key(KeyEvent::new(code, with));
    let none = KeyModifiers::NONE;
    assert!(is_over(&key(KeyCode::Char('q'), none), &mut live));
    assert!(is_over(&key(KeyCode::Char('c'), KeyModifiers::CONTROL), &mut live));
    for other in [KeyCode::Char('c'), KeyCode::Enter, KeyCode::Esc, KeyCode::Up, KeyCode::Char('x')]
    {
        assert!(!is_over(&key(other, none), &mut live), "{other:?}");
    }
    assert!(!is_over(&Event::Resize(80, 24), &mut live));
}

/// Whatever is wrong, and however small the screen is.
#[test]
fn every_fleet_is_shown_on_every_screen() {
    let now = Instant::now();
    for case in unwell() {
        let mut live = live(case.fleet.clone(), now);
        live.sample(now);
        for (width, height) in [(1, 1), (3, 2), (10, 50), (20, 5), (80, 24), (250, 80), (80, 1)] {
            for later in [0, 100] {
                let shown = screen(&mut live, width, height, now + seconds(later));
                assert_eq!(shown.len(), usize::from(height));
            }
        }
        let whole = screen(&mut live, 200, 200, now).join("\n");
        for finding in &case.fleet.findings {
            let begin: String = finding.text.chars().take(40).collect();
            assert!(whole.contains(begin.trim_end()), "{begin}: {whole}");
        }
    }
    let empty = fleet(|seen| {
        seen.board.receipts.clear();
        seen.board.primary = None;
        seen.tail_block = block(0);
    });
    screen(&mut live(empty, now), 80, 24, now);
}

/// The variable by which the test below is a program on a terminal that ends in this way.
const ENDS_BY: &str = "SCREEN_ENDS_BY";

fn end_by(how: &str) {
    let mut screen = Screen::enter().unwrap();
    let mut live = Live::new(ADDRESS.to_owned(), Instant::now());
    screen.terminal.draw(|frame| draw(frame, &mut live, Instant::now())).unwrap();
    match how {
        "panic" => _ = how.parse::<u64>().expect("something is wrong"),
        // As a second signal does.
        _ => {
            terminal::leave();
            std::process::exit(130);
        }
    }
}

/// In a real terminal. Signals and keys are tried in `tests/integration/screen.rs`.
#[test]
fn a_panic_and_an_end_at_once_leave_the_terminal_as_it_was() {
    if let Ok(how) = std::env::var(ENDS_BY) {
        return end_by(&how);
    }
    let own = std::env::current_exe().unwrap();
    let name = "commands::status::live::tests::\
                a_panic_and_an_end_at_once_leave_the_terminal_as_it_was";
    for (how, code) in [("panic", 101), ("signal", 130)] {
        let directory = tempfile::tempdir().unwrap();
        let line = format!(
            "stty rows 24 cols 80; stty -g > before; {ENDS_BY}={how} '{}' --exact {name} --nocapture; \
             echo \"ended with $?\"; stty -g > after",
            own.display()
        );
        let mut script = Command::new("script");
        script.args(["-qfec", &line, "typescript"]).current_dir(&directory);
        script.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = script.spawn().unwrap();
        // Without an end of its keys.
        let keys = running.stdin.take();
        let drawn = running.wait_with_output().unwrap().stdout;
        drop(keys);
        let drawn = String::from_utf8_lossy(&drawn);
        assert!(drawn.contains("\x1b[?1049h"), "{how}: {drawn:?}");
        let (_, left) = drawn.rsplit_once("\x1b[?1049l").expect(&drawn);
        assert!(left.contains("\x1b[?25h"), "{how}: {left:?}");
        assert!(left.contains(&format!("ended with {code}")), "{how}: {left:?}");
        // What went wrong is not drawn on the screen that is gone.
        assert_eq!(left.contains("something is wrong"), how == "panic", "{left:?}");
        let settings = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(settings("before"), settings("after"), "{how}");
    }
}
