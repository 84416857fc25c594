//! How far the end of a log is vouched for. Whoever signs a claim vouches for all before it, and looks
//! here first.

use tipline_proto::limits::MAX_UNIT_MESSAGES;
use tipline_proto::{Head, Position, Trust};

use crate::error::LogError;
use crate::spec::{Log, Tail};

/// The newest entries of a log, by who vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedTail {
    /// The newest entry that a trusted primary signed, and with it all before it. `None` if the log is
    /// empty, or if none of its newest [`MAX_UNIT_MESSAGES`] entries is signed.
    pub signed: Option<Head>,
    /// The entries after it, in order, which nobody signed: what is left of a unit that the log has
    /// stored in part, or what somebody else added. None where no signatures are required.
    pub unsigned: Vec<Head>,
}

/// Reads back from the tail to the newest signed entry, where [`crate::Reader::trust`] requires
/// signatures of the history. What comes back chains up to the tail, and the tail is what it says.
/// Usually the tail itself is signed, and two entries are read.
///
/// # Errors
/// [`LogError::Corrupt`] if an entry is signed by somebody else, if the entries do not chain, if the
/// tail is none of them, or if the entry before the signed one is not held, without which nothing
/// shows that its content is what was signed. The log's.
pub async fn vouched_tail(log: &dyn Log, tail: &Tail) -> Result<VouchedTail, LogError> {
    let mut found = VouchedTail { signed: None, unsigned: Vec::new() };
    let (Some(trust), mut at) = (log.trust(), tail.position) else { return Ok(found) };
    while at.index > 0 && found.unsigned.len() < MAX_UNIT_MESSAGES {
        let (before, head, is_signed) = read(log, trust, at).await?;
        let is_tail = (tail.epoch, tail.outbox_sequence) == (head.epoch, head.outbox_sequence);
        if at == tail.position && !is_tail {
            return Err(corrupt(log, at.index, "the log's tail is said to be another entry"));
        }
        if is_signed {
            found.signed = Some(head);
            break;
        }
        found.unsigned.push(head);
        let Some(before) = before else { break };
        at = before;
    }
    found.unsigned.reverse();
    Ok(found)
}

/// The entry at a position, whether it is signed, and the position before it; `None` if the log does not
/// hold that.
async fn read(
    log: &dyn Log,
    trust: &Trust,
    at: Position,
) -> Result<(Option<Position>, Head, bool), LogError> {
    let before = async {
        match at.index - 1 {
            0 => Ok(Some(Position::origin(log.identity()))),
            before => match log.head(before).await {
                Ok(head) => Ok(Some(head.position)),
                Err(LogError::OutOfRange { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    };
    let (entry, before) = tokio::try_join!(log.entry(at.index), before)?;
    if entry.position() != at || before.is_some_and(|before| !entry.follows(&before)) {
        return Err(corrupt(log, at.index, "it is not what the entries after it continue"));
    }
    let is_signed = entry.signature.is_some();
    if is_signed {
        trust.check_entry(log.identity().lineage, &entry).map_err(|error| {
            let source = Some(Box::new(error).into());
            LogError::Corrupt { place: place(log), at: format!("entry {}", at.index), source }
        })?;
        if before.is_none() {
            let why = "the entry before it is not held, so nothing shows that its content is what \
                       was signed";
            return Err(corrupt(log, at.index, why));
        }
    }
    let (position, epoch, time) = (entry.position(), entry.epoch, entry.time);
    Ok((before, Head { position, epoch, time, outbox_sequence: entry.outbox_sequence }, is_signed))
}

fn corrupt(log: &dyn Log, index: u64, why: &str) -> LogError {
    let source = Some(why.into());
    LogError::Corrupt { place: place(log), at: format!("entry {index}"), source }
}

fn place(log: &dyn Log) -> String {
    log.identity().name.to_string()
}
