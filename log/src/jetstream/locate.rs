//! From the index of an entry to its messages.
//!
//! Every entry takes at least one message, and messages are not deleted in between. So an
//! entry of index `i` that is known to be at sequence `s` puts a bound on every other: index
//! `i + n` is at `s + n` or after it. In a log without large events the first look finds it.
//!
//! An entry of a lower epoch after a higher claim is void. None should ever be there. So are the
//! first parts of an event whose rest was lost, see [`super::cut`]. A search that meets what is
//! void goes by the valid entry before it.

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tipline_proto::subject::Part;
use tipline_proto::{Assembler, Entry, Head, Headers};

use super::api::StreamRef;
use super::reread::Reread;
use super::walk::Walk;
use super::{JetStreamLog, parts};
use crate::error::LogError;
use crate::spec::{Extent, Tail};

/// An entry and the messages it takes.
#[derive(Debug, Clone)]
pub(super) struct EntryLocation {
    pub(super) index: u64,
    epoch: u64,
    /// Sequence of its first message.
    pub(super) start: u64,
    /// Sequence of its last message.
    pub(super) end: u64,
    last: Bytes,
    headers: Headers,
}

/// What a message belongs to.
enum Found {
    Entry(EntryLocation),
    /// The first parts of an event, from this sequence on, without the rest.
    Cut {
        start: u64,
    },
}

impl EntryLocation {
    /// What its last message says of it.
    pub(super) fn head(&self, stream: StreamRef<'_>) -> Result<Head, LogError> {
        Head::decode(self.last.clone()).map_err(|error| stream.damaged(self.end, error))
    }
}

/// The oldest entry that is there in full, and the tail.
pub(super) struct Bounds {
    /// `None` if no entry is there.
    oldest: Option<EntryLocation>,
    pub(super) tail: Tail,
}

impl Bounds {
    pub(super) fn extent(&self) -> Extent {
        let last = self.tail.position.index;
        let first = self.oldest.as_ref().map_or(last + 1, |location| location.index);
        Extent { first, last }
    }

    pub(super) fn out_of_range(&self, asked: u64) -> LogError {
        let Extent { first, last } = self.extent();
        LogError::OutOfRange { asked, first, last }
    }
}

impl JetStreamLog {
    pub(super) async fn bounds(&self) -> Result<Bounds, LogError> {
        let mut reread = Reread::begin();
        loop {
            // In this order: the oldest message is never after the tail. Of an empty stream it
            // is number 0, and it may hold something by now.
            let info = self.event_stream().info().await?;
            self.compare(&info.config)?;
            let first = info.state.first_sequence.max(1);
            let tail = self.read_tail().await?;
            if tail.position.index == 0 {
                return Ok(Bounds { oldest: None, tail });
            }
            if let Some(oldest) = self.whole_from(first, tail.fence).await? {
                return Ok(Bounds { oldest: Some(oldest), tail });
            }
            reread.again(&self.link, "read the oldest entry: it keeps changing").await?;
        }
    }

    /// The first entry that is there in full, if the oldest message has this sequence, and the
    /// newest is `last`; `None` if it was trimmed away meanwhile.
    async fn whole_from(&self, first: u64, last: u64) -> Result<Option<EntryLocation>, LogError> {
        let (mut sequence, mut walk) = (first, Walk::begin());
        while sequence <= last {
            walk.step(self.event_stream(), sequence)?;
            match self.found_at(sequence).await? {
                // Trimming in the middle of a large event leaves some of its parts.
                Some(Found::Entry(location)) if location.start < first => {
                    sequence = location.end + 1;
                }
                Some(Found::Entry(location)) => return Ok(Some(location)),
                Some(Found::Cut { .. }) => sequence += 1,
                None => break,
            }
        }
        Ok(None)
    }

    /// Finds the entry of this index.
    ///
    /// # Errors
    /// `OutOfRange` if the log does not hold it.
    pub(super) async fn locate(
        &self,
        bounds: &Bounds,
        index: u64,
    ) -> Result<EntryLocation, LogError> {
        let Extent { first, last } = bounds.extent();
        let Some(oldest) = bounds.oldest.clone().filter(|_| (first..=last).contains(&index)) else {
            return Err(bounds.out_of_range(index));
        };
        if oldest.index == index {
            return Ok(oldest);
        }
        let mut walk = Walk::begin();
        // The last message of the entry is between these two, inclusive.
        let mut low = oldest.end + (index - first);
        let mut high = bounds.tail.fence.saturating_sub(last - index);
        while low <= high {
            let middle = low + (high - low) / 2;
            let location = self.settled(middle, oldest.start, &bounds.tail, &mut walk).await?;
            if location.index == index {
                return Ok(location);
            }
            if location.index < index {
                low = (middle + 1).max(location.end + (index - location.index));
            } else {
                high = location.start.saturating_sub(location.index - index);
            }
        }
        Err(self.event_stream().wrong(low, format!("entry {index} is not where it must be")))
    }

    /// The whole entry at a location.
    pub(super) async fn fetch(&self, location: &EntryLocation) -> Result<Entry, LogError> {
        let mut assembler = Assembler::default();
        for sequence in location.start..location.end {
            let message = self.held(sequence).await?;
            assembler
                .push(message.payload)
                .map_err(|error| self.event_stream().damaged(sequence, error))?;
        }
        let finished = assembler.finish(location.last.clone());
        let entry = finished.map_err(|error| self.event_stream().damaged(location.end, error))?;
        Ok(Entry { headers: location.headers.clone(), ..entry })
    }

    /// The newest valid entry with a message at or before `sequence`.
    async fn settled(
        &self,
        sequence: u64,
        first: u64,
        tail: &Tail,
        walk: &mut Walk,
    ) -> Result<EntryLocation, LogError> {
        let mut sequence = sequence;
        while sequence >= first {
            walk.step(self.event_stream(), sequence)?;
            let location = match self.found_at(sequence).await? {
                Some(Found::Entry(location)) => location,
                Some(Found::Cut { start }) => {
                    sequence = start.saturating_sub(1);
                    continue;
                }
                None => return Err(self.gone(sequence).await?),
            };
            if !self.is_void(&location, tail, walk).await? {
                return Ok(location);
            }
            tracing::warn!(
                place = %self.link.place, index = location.index, epoch = location.epoch,
                "the log has a void entry, written after a newer claim"
            );
            sequence = location.start.saturating_sub(1);
        }
        // The oldest one was taken for void. So it is, or what shows that it is not was trimmed away.
        self.held(first).await?;
        let why = "a newer claim was before it, and no valid entry is";
        Err(self.event_stream().wrong(first, why))
    }

    /// Whether a higher epoch had begun before the entry. The next claim of a higher epoch shows which
    /// epoch the entry fell into: that of the entry which the claim was sealed after. Its own number
    /// does not. It leaves one out wherever a claim was announced and then lost.
    async fn is_void(
        &self,
        location: &EntryLocation,
        tail: &Tail,
        walk: &mut Walk,
    ) -> Result<bool, LogError> {
        if location.epoch >= tail.epoch {
            return Ok(false);
        }
        let mut from = location.end + 1;
        let claim = loop {
            walk.step(self.event_stream(), from)?;
            match self.event_stream().next(&self.claims(), from).await? {
                None => return self.claim_is_there(tail).await.map(|()| true),
                Some(message) if self.head_of(&message)?.epoch > location.epoch => break message,
                // It is void itself.
                Some(message) => from = message.sequence + 1,
            }
        };
        let (claimed_at, claim) = (claim.sequence, self.claim_of(claim)?);
        if claim.epoch == location.epoch + 1 {
            return Ok(false);
        }
        let mut sequence = claimed_at - 1;
        while sequence > location.end {
            walk.step(self.event_stream(), sequence)?;
            match self.found_at(sequence).await? {
                Some(Found::Entry(before)) if self.is_after(&claim, &before)? => {
                    return Ok(location.epoch < before.epoch);
                }
                Some(Found::Entry(EntryLocation { start, .. }) | Found::Cut { start }) => {
                    sequence = start.saturating_sub(1);
                }
                None => return Err(self.gone(sequence).await?),
            }
        }
        Ok(!self.is_after(&claim, location)?)
    }

    /// Whether the log still has the claim of this tail, as far as it was not trimmed away.
    ///
    /// # Errors
    /// `Unavailable` if it lost it meanwhile.
    async fn claim_is_there(&self, tail: &Tail) -> Result<(), LogError> {
        match self.newest_claim().await? {
            Some(newest) if newest.epoch < tail.epoch => Err(self.lost_meanwhile()),
            Some(_) | None => Ok(()),
        }
    }

    fn claim_of(&self, message: StreamMessage) -> Result<Entry, LogError> {
        let sequence = message.sequence;
        Entry::decode(message.payload).map_err(|error| self.event_stream().damaged(sequence, error))
    }

    /// Whether an entry was sealed directly after this one.
    fn is_after(&self, entry: &Entry, before: &EntryLocation) -> Result<bool, LogError> {
        Ok(entry.follows(&before.head(self.event_stream())?.position))
    }

    /// What the message with this sequence is of; `None` if it is not held.
    async fn found_at(&self, sequence: u64) -> Result<Option<Found>, LogError> {
        let Some(message) = self.event_stream().message(sequence).await? else {
            return Ok(None);
        };
        let Some((part, said)) = self.part_of(&message)? else {
            return self.entry_at(sequence, message).map(|entry| Some(Found::Entry(entry)));
        };
        let start = sequence.saturating_sub(u64::from(part.number() - 1));
        let end = sequence + u64::from(part.of() - part.number());
        let last = match part.is_last() {
            true => message,
            false => match self.last_part(end).await? {
                Some(last) => last,
                None => return Ok(Some(Found::Cut { start })),
            },
        };
        // Parts of one event are one after the other: another message is there if the rest of it
        // was lost. It may be the last part of the event that got its index instead, in fewer parts.
        let is_its_last =
            |(last, index): (Part, u64)| last.is_last() && last.of() == part.of() && index == said;
        if !self.part_of(&last)?.is_some_and(is_its_last) {
            return Ok(Some(Found::Cut { start }));
        }
        let entry = self.entry_at(start, last)?;
        if said != entry.index {
            let why = format!("it is said to be of another entry than {}", entry.index);
            return Err(self.event_stream().wrong(sequence, why));
        }
        Ok(Some(Found::Entry(entry)))
    }

    /// The entry from this sequence on, whose last message this is.
    fn entry_at(&self, start: u64, last: StreamMessage) -> Result<EntryLocation, LogError> {
        let head = self.head_of(&last)?;
        let (index, epoch) = (head.position.index, head.epoch);
        let headers = parts::travelling(&last.headers);
        Ok(EntryLocation { index, epoch, start, end: last.sequence, last: last.payload, headers })
    }

    pub(super) fn part_of(&self, message: &StreamMessage) -> Result<Option<(Part, u64)>, LogError> {
        parts::read(&message.headers)
            .map_err(|error| self.event_stream().wrong(message.sequence, error.to_string()))
    }

    /// The message where an event's last part should be; `None` if the log ends before it.
    async fn last_part(&self, sequence: u64) -> Result<Option<StreamMessage>, LogError> {
        let stream = self.event_stream();
        match stream.message(sequence).await? {
            None if stream.info().await?.state.last_sequence < sequence => Ok(None),
            None => self.held(sequence).await.map(Some),
            found => Ok(found),
        }
    }

    /// A message that must be there, because another part of its event is, unless the event
    /// is trimmed away just now.
    async fn held(&self, sequence: u64) -> Result<StreamMessage, LogError> {
        match self.event_stream().message(sequence).await? {
            Some(message) => Ok(message),
            None => Err(self.gone(sequence).await?),
        }
    }

    /// Why a message is not there that was.
    async fn gone(&self, sequence: u64) -> Result<LogError, LogError> {
        let stream = self.event_stream();
        let state = stream.info().await?.state;
        if state.first_sequence > sequence {
            return Ok(self.trimmed_meanwhile());
        }
        if state.last_sequence < sequence {
            return Ok(self.lost_meanwhile());
        }
        Ok(stream.wrong(sequence, "it is gone"))
    }

    fn lost_meanwhile(&self) -> LogError {
        self.link.unavailable("find an entry: the log lost its end meanwhile", None)
    }

    fn trimmed_meanwhile(&self) -> LogError {
        self.link.unavailable("find an entry: it was trimmed away meanwhile", None)
    }
}
