//! A store that is frozen for a snapshot of its volume: while a command runs, or from one call to
//! another.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tipline_ops::text::{age, number};
use tipline_ops::{FrozenStore, LONGEST_FREEZE};
use tokio_util::sync::CancellationToken;

use super::own_maker;
use crate::address::StoreAddress;
use crate::exit::Exit;
use crate::open::admin::{self, explain};
use crate::output::report::{Failure, Sentence, say};
use crate::signal;

/// What to do with a snapshot that may not be of one moment.
const THROW_AWAY: &str = "throw the snapshot away, and make another one";

/// Freezes it while a command runs.
pub(super) async fn run(
    address: &StoreAddress,
    most: Duration,
    command: Vec<String>,
) -> Result<Exit, Failure> {
    check(most)?;
    let stop = signal::on_signal()?;
    let socket = admin::socket(address);
    let mut own = None;
    let frozen = match tipline_ops::freeze(&socket, most).await.map_err(explain)? {
        Some(frozen) => frozen,
        // Nobody writes to it, and nobody shall begin to.
        None => {
            // It is thawed by this command, also after Ctrl-C.
            let maker = own_maker(address, None, CancellationToken::new()).await?;
            own = admin::start(address, maker.into());
            let frozen = tipline_ops::freeze(&socket, most).await.map_err(explain)?;
            frozen.ok_or_else(|| Sentence("the store cannot be frozen".to_owned()))?
        }
    };
    let (index, for_most) = (number(frozen.index), age(most));
    say(&format!("frozen at entry {index}, for {for_most} at most\n"))?;
    let ended = match command.split_first() {
        None => {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(most) => {}
            }
            None
        }
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words);
            Some(tokio::task::spawn_blocking(move || command.status()).await?)
        }
    };
    let Some(ended) = ended else {
        frozen.thaw().await?;
        return Ok(Exit::Ok);
    };
    let thawed = thawed(frozen, &for_most).await;
    drop(own);
    let status = ended.map_err(|e| Sentence(format!("the command cannot be run: {e}")))?;
    if !status.success() {
        return Err(Sentence(format!("the command failed: {status}")).into());
    }
    thawed
}

async fn thawed(frozen: FrozenStore, for_most: &str) -> Result<Exit, Failure> {
    match frozen.thaw().await {
        Ok(true) => Ok(Exit::Ok),
        Ok(false) => {
            let text = format!(
                "the command took longer than {for_most}, or the process that has the store open \
                 was told to stop: the store was thawed before it ended"
            );
            let advice = "throw its snapshot away, and give more --max";
            Err(Failure::from(Sentence(text)).advise(advice))
        }
        Err(error) => Err(Failure::from(error).advise(THROW_AWAY)),
    }
}

/// Freezes it, and leaves it so.
pub(super) async fn hold(
    address: &StoreAddress,
    most: Duration,
    json: bool,
) -> Result<Exit, Failure> {
    check(most)?;
    let socket = admin::socket(address);
    let Some(held) = tipline_ops::hold(&socket, most).await.map_err(explain)? else {
        let advice = "start the consumer, or freeze the store while one command runs: \
                      tipline checkpoint freeze … -- COMMAND";
        return Err(nobody(&socket, "there is nobody to hold it frozen").advise(advice));
    };
    if json {
        let mut told = serde_json::to_value(&held)?;
        told["max_ms"] = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).into();
        say(&format!("{told}\n"))?;
    } else {
        // The id alone, for `id=$(tipline checkpoint freeze --hold …)`.
        say(&format!("{}\n", held.id))?;
        let block = held.block.map(|block| format!(", block {}", number(block)));
        let (index, block) = (number(held.index), block.unwrap_or_default());
        let for_most = age(most);
        tracing::info!("frozen at entry {index}{block}, for {for_most} at most");
    }
    Ok(Exit::Ok)
}

/// Thaws one that is held, and says whether it was frozen until now.
pub(super) async fn thaw(address: &StoreAddress, id: Option<&str>) -> Result<Exit, Failure> {
    let socket = admin::socket(address);
    let released = tipline_ops::release(&socket, id).await;
    match released.map_err(|error| explain(error).advise(THROW_AWAY))? {
        Some(true) => {
            say("thawed; it was frozen until now, so its snapshot is good\n")?;
            Ok(Exit::Ok)
        }
        Some(false) => {
            let text = "the store was thawed before this: its snapshot must not be used";
            let advice = "throw the snapshot away, and give more --max";
            Err(Failure::from(Sentence(text.to_owned())).advise(advice))
        }
        None => {
            let what = "it is not frozen, and its snapshot must not be used";
            Err(nobody(&socket, what).advise(THROW_AWAY))
        }
    }
}

fn nobody(socket: &Path, what: &str) -> Failure {
    let socket = socket.display();
    Sentence(format!("no process has the store open at {socket}: {what}")).into()
}

/// Before anything is opened: whoever has the store open refuses it, too.
fn check(most: Duration) -> Result<(), Failure> {
    if most.is_zero() || most > LONGEST_FREEZE {
        let text = format!("--max is {}, and may be {}", age(most), age(LONGEST_FREEZE));
        return Err(Sentence(text + " at most, and not nothing").into());
    }
    Ok(())
}
