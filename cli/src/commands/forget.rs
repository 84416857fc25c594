//! `tipline forget`: removes a consumer that is gone for good.

use std::time::Duration;

use tipline_log::system_clock;
use tipline_ops::text::age;
use tipline_proto::ConsumerName;

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

Its store is not touched. A consumer that reported in the last 15 s is not forgotten.")]
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
    let Some(receipt) = board.receipts.iter().find(|receipt| receipt.consumer == args.name) else {
        let names: Vec<&str> = board.receipts.iter().map(|r| r.consumer.as_str()).collect();
        let hint = match nearest(args.name.as_str(), names.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None if names.is_empty() => "none has ever sent a receipt".to_owned(),
            None => format!("there are {}", names.join(", ")),
        };
        let text = format!("{} knows no consumer {}: {hint}", place.address(), args.name);
        return Err(Sentence(text).into());
    };
    let silent = system_clock()().since(receipt.time);
    if silent < ALIVE {
        let text = format!("{} reported {} ago: it still runs", args.name, age(silent));
        let seconds = ALIVE.as_secs();
        let advice =
            format!("stop it for good, and run this again when it is silent for {seconds} s");
        return Err(Failure::from(Sentence(text)).advise(advice));
    }
    log.forget(&args.name).await?;
    say(&format!("forgot {} {}\n", receipt.role, args.name))?;
    Ok(Exit::Ok)
}
