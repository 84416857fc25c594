//! `tipline check`: an active check of the whole way, from the primary's outbox to everybody's
//! receipt.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tipline_backup::{TimeDigits, time_text};
use tipline_log::system_clock;
use tipline_ops::text::number;
use tipline_ops::{Answer, AnswerState, Probe, Prober, RoundTrip, request_mark};
use tipline_proto::{ConsumerName, Label, Level};
use tokio::time::{Instant, timeout_at};

use crate::address::Source;
use crate::exit::Exit;
use crate::open::admin;
use crate::open::log::LogLocation;
use crate::options::Shared;
use crate::output::escape::{line, plain};
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// Options of `tipline check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline check --source dir:/var/lib/node/blocks
  tipline check --source sqlite:/var/lib/node/node.db --expect backup-1,archive --within 1m
  tipline check --source dir:/var/lib/node/blocks --level verified --expect archive
  tipline check --socket /var/lib/node/tipline.admin --json

It asks the running primary for a mark, by its admin socket, and waits until the mark is in the log
and everybody has acknowledged it. Run it where the primary runs, as the same user. The mark is an
event as any other, a few hundred bytes, and stays: a restore can name it. Nothing else is changed.

Exit codes: 0 every leg ended in time; 1 the mark is in the log, and somebody did not acknowledge it
in time, or nobody is there; 2 it did not get to the log in time, or the primary refused it; 16 the
primary or the log does not answer.")]
pub(crate) struct CheckArgs {
    /// What the primary reads, as it was started with
    #[arg(long, env = "TIPLINE_SOURCE", value_name = "SOURCE", value_parser = Parsed::<Source>::new())]
    source: Option<Source>,

    /// Where the outbox keeps its index, if the primary was started with that
    #[arg(long, env = "TIPLINE_INDEX", value_name = "FILE")]
    index: Option<PathBuf>,

    /// The admin socket of a node that embeds the primary, in place of --source
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,

    /// What everybody must say of the mark: applied, durable, verified or offsite
    ///
    /// Who has only ever reported lower levels is not waited for, unless --expect names it.
    #[arg(long, value_name = "LEVEL", default_value = "durable")]
    #[arg(value_parser = Parsed::<Level>::new())]
    level: Level,

    /// How long all of it may take
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    within: humantime::Duration,

    /// Consumers that must acknowledge, even if they have never sent a receipt. Separate several by
    /// commas
    #[arg(long, env = "TIPLINE_EXPECT", value_name = "NAME", value_delimiter = ',')]
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    expect: Vec<ConsumerName>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Sends a mark on its way.
pub(crate) async fn run(shared: &Shared, args: CheckArgs) -> Result<Exit, Failure> {
    let socket = socket(&args)?;
    let place = LogLocation::new(shared, "check")?;
    let time = time_text(system_clock()(), TimeDigits::Micros);
    let probe = Probe {
        name: Label::new(&format!("tipline-check-{time}"))?,
        level: args.level,
        expected: args.expect,
        within: args.within.into(),
    };
    let opening = async { Prober::new(place.open().await?).await };
    let late = || away(format!("the log at {} has not answered in time", place.address()));
    let prober = timeout_at(Instant::now() + probe.within, opening).await.map_err(|_| late())?;
    let prober = prober.map_err(|error| place.explain(error.into()))?;
    let asked = Instant::now();
    match timeout_at(asked + probe.within, request_mark(&socket, &probe.name)).await {
        Ok(Ok(Some(()))) => {}
        Ok(Ok(None)) => return Err(no_primary(&socket)),
        Ok(Err(error)) => return Err(admin::explain(error)),
        Err(_) => {
            return Err(away(format!(
                "the primary at {} has not answered in time",
                socket.display()
            )));
        }
    }
    let trip = prober.wait(&probe, asked).await?;
    if args.json {
        say(&(serde_json::to_string(&trip)? + "\n"))?;
    } else {
        say(&render(&trip))?;
    }
    Ok(match (trip.ok, trip.index) {
        (true, _) => Exit::Ok,
        (false, Some(_)) => Exit::Degraded,
        (false, None) => Exit::Failed,
    })
}

fn socket(args: &CheckArgs) -> Result<PathBuf, Failure> {
    match (&args.socket, &args.source) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(source)) => Ok(admin::primary_socket(source, args.index.as_deref())),
        (None, None) => {
            let text = "which primary is to publish the mark is not said".to_owned();
            Err(Failure::from(Sentence(text)).advise(
                "--source, as the primary was started with, or --socket for a node that embeds it",
            ))
        }
    }
}

fn away(text: String) -> Failure {
    Failure::from(Sentence(text)).ending(Exit::Unavailable)
}

fn no_primary(socket: &Path) -> Failure {
    admin::nobody("primary", socket).advise(
        "run this where the primary runs, as the same user, with the --source and --index that it \
         was started with; `tipline status` shows whether one runs at all",
    )
}

/// A line for each leg.
fn render(trip: &RoundTrip) -> String {
    let mut rows = vec![logged(trip)];
    rows.extend(trip.consumers.iter().map(|one| acknowledged(one, trip)));
    let width = rows.iter().map(|(leg, _, _)| leg.chars().count()).max().unwrap_or(0).max(3);
    let mut text = format!("{}\n\n{:width$}  {:>9}  RESULT\n", verdict(trip), "LEG", "TIME");
    for (leg, time, result) in rows {
        let time = time.map_or("–".to_owned(), milliseconds);
        text += &format!("{leg:width$}  {time:>9}  {}\n", plain(&result));
    }
    if let Some(why) = &trip.log_failure {
        text += &format!("\n{}", line(format_args!("the log: {why}")));
    }
    text
}

fn verdict(trip: &RoundTrip) -> String {
    let within = humantime::format_duration(trip.within);
    let open: Vec<&str> =
        trip.consumers.iter().filter(|one| is_open(one)).map(|one| one.name.as_str()).collect();
    match (trip.ok, trip.index) {
        (true, _) => format!("every leg ended within {within}: {}", trip.mark),
        (false, None) => format!("the mark did not get to the log within {within}: {}", trip.mark),
        (false, Some(_)) if open.is_empty() => {
            format!("no consumer acknowledges the mark at {}: {}", trip.level, trip.mark)
        }
        (false, Some(_)) => {
            format!("not acknowledged within {within} by {}: {}", open.join(", "), trip.mark)
        }
    }
}

fn is_open(answer: &Answer) -> bool {
    !matches!(answer.state, AnswerState::Acknowledged | AnswerState::Below)
}

type Row = (String, Option<Duration>, String);

fn logged(trip: &RoundTrip) -> Row {
    let result = match trip.index {
        Some(index) => format!("event {}", number(index)),
        None => "NOT in the log".to_owned(),
    };
    ("outbox → log".to_owned(), trip.logged, result)
}

fn acknowledged(answer: &Answer, trip: &RoundTrip) -> Row {
    let at = answer.index.map_or("nothing".to_owned(), |index| format!("event {}", number(index)));
    let level = trip.level;
    let mut result = match answer.state {
        AnswerState::Acknowledged => level.to_owned(),
        AnswerState::Below => format!("not waited for: it has never reported {level}"),
        AnswerState::Waiting if trip.index.is_none() => format!("{level} up to {at}"),
        AnswerState::Waiting => format!("NOT acknowledged: {level} up to {at}"),
        AnswerState::Diverged => format!("DIVERGED: it holds another history at {at}"),
        AnswerState::Missing => "MISSING: it has never sent a receipt".to_owned(),
    };
    if let Some(failure) = &answer.failure {
        result += &format!("; failed: {failure}");
    }
    (format!("log → {}", answer.name), answer.acknowledged, result)
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
