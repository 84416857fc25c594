//! A row for each consumer, in as many columns as there is room for.

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use tipline_ops::text::{age, count, number};
use tipline_ops::{ConsumerView, State};

use super::state::Live;

/// Seconds that the line of lags is for, by how much room there is.
const TRENDS: [usize; 3] = [30, 10, 5];
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NONE: &str = "–";
const GAP: usize = 2;

/// A column. The first that has no room is the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Behind,
    Block,
    Heard,
    Trend(usize),
    Level,
    Proof,
    Role,
}

/// In which order they stand.
const ORDER: [Column; 9] = [
    Column::Name,
    Column::Role,
    Column::State,
    Column::Level,
    Column::Block,
    Column::Proof,
    Column::Behind,
    Column::Heard,
    Column::Trend(0),
];

/// What goes first where there is no room for all.
const SACRIFICES: [Column; 7] = [
    Column::Role,
    Column::Level,
    Column::Trend(0),
    Column::Proof,
    Column::Heard,
    Column::Behind,
    Column::Block,
];

/// The head and a row each, the worst first. `old` is how old what is known is.
pub(super) fn rows(
    live: &Live,
    consumers: &[ConsumerView],
    old: Duration,
    width: usize,
) -> Vec<Line<'static>> {
    let mut sorted: Vec<&ConsumerView> = consumers.iter().collect();
    sorted.sort_by(|one, other| other.state.cmp(&one.state).then(one.name.cmp(&other.name)));
    let (columns, widths) = fit(live, &sorted, old, width);
    let head: Vec<String> = columns.iter().map(|column| title(*column)).collect();
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut lines = vec![Line::styled(join(&head, &columns, &widths), dim)];
    for one in sorted {
        let cells: Vec<String> =
            columns.iter().map(|column| cell(live, one, old, *column)).collect();
        lines.push(Line::from(Span::styled(join(&cells, &columns, &widths), style(one.state))));
    }
    lines
}

/// The columns that there is room for, and their widths.
fn fit(
    live: &Live,
    consumers: &[&ConsumerView],
    old: Duration,
    width: usize,
) -> (Vec<Column>, Vec<usize>) {
    let mut columns = ORDER.to_vec();
    let [longest, shorter @ ..] = TRENDS;
    columns[8] = Column::Trend(longest);
    let mut shorter = shorter.into_iter();
    let mut sacrifices = SACRIFICES.into_iter();
    loop {
        let measure = |column: &Column| {
            let cells = consumers.iter().map(|one| cell(live, one, old, *column));
            cells.chain([title(*column)]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = columns.iter().map(measure).collect();
        let all = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        if all <= width {
            return (columns, widths);
        }
        // A short line of lags before any column goes.
        if let Some(seconds) = shorter.next() {
            columns[8] = Column::Trend(seconds);
            continue;
        }
        let Some(next) = sacrifices.next() else { return (columns, widths) };
        let is_it = |column: &Column| match next {
            Column::Trend(_) => matches!(column, Column::Trend(_)),
            next => *column == next,
        };
        columns.retain(|column| !is_it(column));
    }
}

fn title(column: Column) -> String {
    match column {
        Column::Name => "NAME".to_owned(),
        Column::Role => "ROLE".to_owned(),
        Column::State => "STATE".to_owned(),
        Column::Level => "LEVEL".to_owned(),
        Column::Block => "BLOCK".to_owned(),
        Column::Proof => "PROOF".to_owned(),
        Column::Behind => "BEHIND".to_owned(),
        Column::Heard => "RECEIPT".to_owned(),
        Column::Trend(..10) => "LAG".to_owned(),
        Column::Trend(seconds) => format!("LAG {seconds} s"),
    }
}

fn cell(live: &Live, one: &ConsumerView, old: Duration, column: Column) -> String {
    let height = |height: Option<u64>| height.map_or(NONE.to_owned(), number);
    match column {
        Column::Name => one.name.clone(),
        Column::Role => one.role.to_owned(),
        Column::State => state(one, old),
        Column::Level => one.level.unwrap_or(NONE).to_owned(),
        Column::Block => height(one.block),
        Column::Proof => height(one.proof),
        Column::Behind => behind(one, old),
        Column::Heard => age(one.age.saturating_add(old)),
        Column::Trend(seconds) => trend(live.lags(&one.name), seconds),
    }
}

fn state(one: &ConsumerView, old: Duration) -> String {
    match (one.state, one.frozen) {
        (State::Ahead, _) => "ahead of the log".to_owned(),
        (State::Frozen, Some(frozen)) => format!("frozen {}", age(frozen.saturating_add(old))),
        (state, _) => format!("{state:?}").to_lowercase(),
    }
}

/// In blocks, events and time.
fn behind(one: &ConsumerView, old: Duration) -> String {
    let mut parts = Vec::new();
    if let Some(blocks) = one.lag_blocks.filter(|blocks| *blocks > 0) {
        parts.push(count(blocks, "block"));
    }
    if one.lag_events > 0 {
        parts.push(count(one.lag_events, "event"));
        parts.extend(one.lag.map(|lag| age(lag.saturating_add(old))));
    }
    if parts.is_empty() { NONE.to_owned() } else { parts.join(", ") }
}

/// A bar for each second, the newest at the right; a dot where nothing is known.
fn trend(lags: impl DoubleEndedIterator<Item = Option<u64>> + Clone, seconds: usize) -> String {
    let newest = || lags.clone().rev().take(seconds);
    let most = newest().flatten().max().unwrap_or(0).max(1);
    let bar = |lag: Option<u64>| match lag {
        None => '·',
        Some(0) => BARS[0],
        // The smallest lag is more than none.
        Some(lag) => {
            let last = BARS.len() - 1;
            let share = u128::from(lag) * last as u128 / u128::from(most);
            BARS[usize::try_from(share).map_or(last, |share| share.clamp(1, last))]
        }
    };
    let mut bars: Vec<char> = newest().map(bar).collect();
    bars.reverse();
    bars.into_iter().collect()
}

fn is_number(column: Column) -> bool {
    matches!(column, Column::Block | Column::Proof | Column::Behind | Column::Heard)
}

fn join(cells: &[String], columns: &[Column], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, column), width) in cells.iter().zip(columns).zip(widths) {
        if !line.is_empty() {
            line.push_str(&" ".repeat(GAP));
        }
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        // The newest second is at the right.
        let at_right = is_number(*column) || matches!(column, Column::Trend(_));
        let (before, after) = if at_right { (padding.as_str(), "") } else { ("", &*padding) };
        line = line + before + cell + after;
    }
    line
}

fn style(state: State) -> Style {
    match state {
        State::Well => Style::new(),
        State::Frozen => Style::new().fg(Color::Cyan),
        State::Diverged | State::Ahead => Style::new().fg(Color::Red),
        _ => Style::new().fg(Color::Yellow),
    }
}
