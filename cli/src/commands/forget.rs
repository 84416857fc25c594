//! `tipline forget`: removes a consumer that is gone for good.

use std::time::Duration;

use tipline_log::{Board, system_clock};
use tipline_ops::SignOfLife;
use tipline_ops::text::age;
use tipline_proto::{ConsumerName, Timestamp};

use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::options::Shared;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::{Parsed, nearest};

/// A consumer that reported within this time may still run.
const ALIVE: Duration = Duration::from_secs(15);

/// Options of `tipline forget`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline forget replica-3
  tipline forget backup-2 --log nats://127.0.0.1:4222/mainnet

Its store is not touched. A consumer that reported in the last 15 s, by the clock of the log or by its
own, is not forgotten.")]
pub(crate) struct ForgetArgs {
    /// Name of the consumer
    #[arg(value_parser = Parsed::<ConsumerName>::new())]
    name: ConsumerName,
}

/// Removes its receipt from the log.
pub(crate) async fn run(shared: &Shared, args: ForgetArgs) -> Result<Exit, Failure> {
    let place = LogLocation::new(shared, "forget")?;
    let log = place.open().await.map_err(|error| place.explain(error.into()))?;
    let board = log.board().await?;
    let what = known(&board, &args.name, &place)?;
    if let Some(sign) = sign_of_life(&board, &args.name, system_clock()()) {
        let seconds = ALIVE.as_secs();
        let advice =
            format!("stop it for good, and run this again when it is silent for {seconds} s");
        return Err(Failure::from(Sentence(format!("{}{sign}", args.name))).advise(advice));
    }
    log.forget(&args.name).await?;
    say(&format!("forgot {what} {}\n", args.name))?;
    Ok(Exit::Ok)
}

/// What the consumer is, if the log knows it. A receipt that cannot be read can be forgotten, too.
fn known(board: &Board, name: &ConsumerName, place: &LogLocation) -> Result<&'static str, Failure> {
    if let Some(receipt) = board.receipts.iter().find(|receipt| receipt.consumer == *name) {
        return Ok(receipt.role.as_str());
    }
    if board.unreadable.iter().any(|unreadable| unreadable.consumer.as_ref() == Some(name)) {
        return Ok("the unreadable receipt of");
    }
    let names: Vec<&str> = board.receipts.iter().map(|r| r.consumer.as_str()).collect();
    let hint = match nearest(name.as_str(), names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "none has ever sent a receipt".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    let text = format!("{} knows no consumer {name}: {hint}", place.address());
    Err(Sentence(text).into())
}

/// Why it may still run: it reported lately by either clock, or nobody can tell.
fn sign_of_life(board: &Board, name: &ConsumerName, now: Timestamp) -> Option<String> {
    let receipt = board.receipts.iter().find(|receipt| receipt.consumer == *name);
    let by_log = board.heard.get(name).copied();
    let by_times = receipt.map(|receipt| SignOfLife::new(receipt.time, None, now));
    // A time to come tells nothing.
    let own = by_times.filter(|sign| sign.clock_ahead.is_none()).map(|sign| sign.age);
    match by_log.into_iter().chain(own).min() {
        Some(silent) if silent < ALIVE => {
            Some(format!(" reported {} ago: it still runs", age(silent)))
        }
        Some(_) => None,
        None => {
            let ahead = age(by_times?.clock_ahead?);
            Some(format!(" has a clock that is ahead by {ahead}: it may still run"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_log::Board;
    use tipline_ops::testing::{NOW, receipt, seconds_ago};
    use tipline_proto::{Role, Timestamp};

    use super::sign_of_life;

    #[test]
    fn who_is_alive_by_either_clock_is_not_forgotten() {
        let hours_ahead = Timestamp::from_micros(NOW.as_micros() + 8 * 3_600_000_000);
        let told = |time, heard: Option<u64>| {
            let mut receipt = receipt("b", Role::Backup, 1, 6);
            receipt.time = time;
            let name = receipt.consumer.clone();
            let mut board = Board { receipts: vec![receipt], ..Board::default() };
            board.heard.extend(heard.map(|heard| (name.clone(), Duration::from_secs(heard))));
            sign_of_life(&board, &name, NOW).unwrap_or_default()
        };
        let runs = |age| format!(" reported {age} ago: it still runs");
        assert_eq!(told(seconds_ago(14), None), runs("14 s"));
        assert_eq!(told(seconds_ago(15), None), "");
        // Its clock is behind, or this machine's is ahead: the log heard it.
        assert_eq!(told(seconds_ago(20), Some(1)), runs("1.0 s"));
        // The log's word is old, but its own time is not.
        assert_eq!(told(seconds_ago(2), Some(60)), runs("2.0 s"));
        // It died with its clock ahead.
        assert_eq!(told(hours_ahead, Some(60)), "");
        assert_eq!(told(hours_ahead, Some(3)), runs("3.0 s"));
        let unknown = " has a clock that is ahead by 8 h: it may still run";
        assert_eq!(told(hours_ahead, None), unknown);
    }
}
