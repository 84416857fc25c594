//! How far the end of a log is vouched for. Whoever signs a claim vouches for all before it, and looks
//! here first.

use tipline_proto::limits::MAX_UNIT_MESSAGES;
use tipline_proto::{Entry, Head, Position, Tip, Trust};

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
        let (before, entry) = read(log, trust, at).await?;
        if at == tail.position {
            is_tail(log, tail, &entry)?;
        }
        let Entry { epoch, time, outbox_sequence, .. } = entry;
        let head = Head { position: at, epoch, time, outbox_sequence };
        if entry.signature.is_some() {
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

/// Whether the newest entry is what the tail says of it: its digest is the tail's, and it is of this
/// epoch and outbox sequence. Two entries are read, whoever must sign.
///
/// # Errors
/// [`LogError::Corrupt`] if it is not; the log's.
pub async fn check_tail(log: &dyn Log, tail: &Tail) -> Result<(), LogError> {
    let at = tail.position;
    if at.index == 0 {
        return Ok(());
    }
    let (_, entry) = read(log, &Trust::default(), at).await?;
    is_tail(log, tail, &entry)
}

/// The block tip after the newest block or rollback among the newest `look_back` entries, where
/// signatures are required: each was found to chain up to a tail that a trusted primary vouches for.
/// `None` if there is none, if they are not all held, or if nobody vouches for the tail.
///
/// # Errors
/// Those of [`vouched_tail`].
pub async fn vouched_block(
    log: &dyn Log,
    tail: &Tail,
    look_back: u64,
) -> Result<Option<Tip>, LogError> {
    let Some(trust) = log.trust() else { return Ok(None) };
    if !vouched_tail(log, tail).await?.unsigned.is_empty() {
        return Ok(None);
    }
    let mut at = tail.position;
    let last = at.index.saturating_sub(look_back);
    while at.index > last {
        let (Some(before), entry) = read(log, trust, at).await? else { break };
        if let Some(tip) = entry.event.block_tip() {
            return Ok(Some(tip));
        }
        at = before;
    }
    Ok(None)
}

fn is_tail(log: &dyn Log, tail: &Tail, entry: &Entry) -> Result<(), LogError> {
    if (tail.epoch, tail.outbox_sequence) == (entry.epoch, entry.outbox_sequence) {
        return Ok(());
    }
    Err(corrupt(log, tail.position.index, "the log's tail is said to be another entry"))
}

/// The entry at a position, and the position before it; `None` if the log does not hold that. A signature
/// that it carries is a trusted one.
async fn read(
    log: &dyn Log,
    trust: &Trust,
    at: Position,
) -> Result<(Option<Position>, Entry), LogError> {
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
    if entry.signature.is_some() {
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
    Ok((before, entry))
}

fn corrupt(log: &dyn Log, index: u64, why: &str) -> LogError {
    let source = Some(why.into());
    LogError::Corrupt { place: place(log), at: format!("entry {index}"), source }
}

fn place(log: &dyn Log) -> String {
    log.identity().name.to_string()
}
