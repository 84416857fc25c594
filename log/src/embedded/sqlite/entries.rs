//! The entries: appended in one transaction, checked when they are read.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{Digest, Entry, Event, Headers, Lineage, OutboxId, Position};

use super::Database;
use super::error::explain;
use crate::error::LogError;
use crate::spec::{Extent, Tail};

/// Column of the headers of an entry: NULL if it has none.
const HEADERS: &str = "headers";

impl Database {
    /// Appends a unit that was checked, and fsyncs it. `None` if the tail is not `after`:
    /// nothing was written.
    pub(in crate::embedded) fn append(
        &mut self,
        after: &Tail,
        unit: &[Entry],
    ) -> Result<Option<Tail>, LogError> {
        let (place, origin) = (&self.place, Position::origin(&self.identity));
        append(&mut self.connection, origin, after, unit)
            .map_err(|error| explain(place, &format!("appending after {}", after.position), error))
    }

    /// The tail. The newest entry is read whole, and from the files: what is in memory does not show
    /// that they have changed.
    pub(in crate::embedded) fn tail(&self) -> Result<Tail, LogError> {
        let origin = Tail::origin(&self.identity);
        let explain = |error| explain(&self.place, "the newest entry", error);
        self.connection.execute_batch("PRAGMA shrink_memory").map_err(explain)?;
        self.check_lineage()?;
        // One view of it all. Another process may append and trim meanwhile.
        let _view = self.connection.unchecked_transaction().map_err(explain)?;
        let newest = newest(&self.connection).map_err(explain)?;
        let Some((number, digest, claim)) = newest else { return Ok(origin) };
        let entry = self.decode(number)?;
        if digest != entry.digest.as_bytes()[..] {
            return Err(self.damaged(number, "its digest is not the one beside it"));
        }
        Ok(Tail { outbox: self.outbox(claim)?, ..origin.after(&entry, number) })
    }

    /// Whether it is still the log that was opened. What says so is in the file alone: the newest
    /// entries may all be in the write-ahead log.
    fn check_lineage(&self) -> Result<(), LogError> {
        let explain = |error| explain(&self.place, "the log's identity", error);
        let read = |row: &Row<'_>| row.get::<_, [u8; 16]>(0);
        let found = self.connection.query_row("SELECT lineage FROM log", [], read);
        let (found, expected) =
            (Lineage::from_bytes(found.map_err(explain)?), self.identity.lineage);
        if found == expected {
            return Ok(());
        }
        Err(LogError::WrongLog { place: self.place.clone(), expected, found })
    }

    pub(in crate::embedded) fn extent(&self) -> Result<Extent, LogError> {
        let sql = "SELECT (SELECT min(number) FROM entry), (SELECT max(number) FROM entry)";
        let numbers = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (first, last): (Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([], numbers))
            .map_err(|error| explain(&self.place, "the extent", error))?;
        Ok(Extent { first: first.map_or(1, number), last: last.map_or(0, number) })
    }

    /// The position after entry `index`; `None` if the log holds neither it nor the one after.
    pub(in crate::embedded) fn position(&self, index: u64) -> Result<Option<Position>, LogError> {
        if index == 0 {
            return Ok(Some(Position::origin(&self.identity)));
        }
        let digest: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT digest FROM entry WHERE number = ?")
            .and_then(|mut statement| {
                statement.query_row([key(index)], |row| row.get(0)).optional()
            })
            .map_err(|error| explain(&self.place, &format!("entry {index}"), error))?;
        let Some(digest) = digest else {
            let trimmed = self.trimmed()?.map(|trimmed| trimmed.position);
            return Ok(trimmed.filter(|position| position.index == index));
        };
        match <[u8; 32]>::try_from(digest) {
            Ok(digest) => Ok(Some(Position { index, digest: Digest::from_bytes(digest) })),
            Err(_) => Err(self.damaged(index, "its digest has not 32 bytes")),
        }
    }

    /// The entries after `previous`, as many as a batch may have, each checked against the
    /// one before: SQLite has no checksum of its own on what it stores. A batch ends before an entry
    /// that is damaged.
    pub(in crate::embedded) fn batch(&self, previous: Position) -> Result<Vec<Entry>, LogError> {
        let explain =
            |error| explain(&self.place, &format!("entries after {}", previous.index), error);
        let headers = self.headers_column().map_err(explain)?;
        let sql = format!(
            "SELECT number, digest, length(bytes), bytes, {headers} FROM entry
             WHERE number > ? ORDER BY number LIMIT ?"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(explain)?;
        let limit = MAX_APPLY_EVENTS as i64;
        let mut rows = statement.query(params![key(previous.index), limit]).map_err(explain)?;
        let (mut batch, mut reached, mut bytes) = (Vec::new(), previous, 0);
        let mut next = || -> Result<Option<Entry>, LogError> {
            let Some(row) = rows.next().map_err(explain)? else { return Ok(None) };
            bytes += row.get::<_, i64>(2).map_err(explain)?;
            if bytes > MAX_APPLY_BYTES as i64 && reached != previous {
                return Ok(None);
            }
            let entry = self.check(row, &reached)?;
            reached = entry.position();
            Ok(Some(entry))
        };
        loop {
            match next() {
                Ok(Some(entry)) => batch.push(entry),
                Ok(None) => return Ok(batch),
                // What is whole is given out first; who asks for the rest is told.
                Err(LogError::Corrupt { .. }) if !batch.is_empty() => return Ok(batch),
                Err(error) => return Err(error),
            }
        }
    }

    /// One entry, checked like those of a batch; `None` if the log does not hold it.
    pub(in crate::embedded) fn entry(&self, index: u64) -> Result<Option<Entry>, LogError> {
        let Some(before) = index.checked_sub(1) else { return Ok(None) };
        let Some(previous) = self.position(before)? else { return Ok(None) };
        let explain = |error| explain(&self.place, &format!("entry {index}"), error);
        let headers = self.headers_column().map_err(explain)?;
        let sql = format!(
            "SELECT number, digest, length(bytes), bytes, {headers} FROM entry WHERE number = ?"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(explain)?;
        let mut rows = statement.query([key(index)]).map_err(explain)?;
        match rows.next().map_err(explain)? {
            Some(row) => self.check(row, &previous).map(Some),
            None => Ok(None),
        }
    }

    fn check(&self, row: &Row<'_>, previous: &Position) -> Result<Entry, LogError> {
        let index = previous.index + 1;
        let at = format!("entry {index}");
        let explain = |error| explain(&self.place, &at, error);
        let found = number(row.get(0).map_err(explain)?);
        if found != index && self.trimmed()?.is_some_and(|gone| gone.position.index >= index) {
            let Extent { first, last } = self.extent()?;
            return Err(LogError::OutOfRange { asked: index, first, last });
        }
        if found != index {
            return Err(self.damaged(index, &format!("it is missing, the next one is {found}")));
        }
        let digest: Vec<u8> = row.get(1).map_err(explain)?;
        let bytes: Vec<u8> = row.get(3).map_err(explain)?;
        let mut entry = Entry::decode(bytes.into())
            .map_err(|error| LogError::damaged(&self.place, &at, error))?;
        // Nothing depends on them, so nothing is wrong if they cannot be read.
        let headers = row.get_ref(4).ok().and_then(|headers| headers.as_str().ok());
        entry.headers = headers.map(Headers::decode).unwrap_or_default();
        if !entry.follows(previous) || digest != entry.digest.as_bytes()[..] {
            return Err(
                self.damaged(index, "its bytes do not give its digest after the entry before")
            );
        }
        Ok(entry)
    }

    /// Adds the column of headers, if the file was made without it.
    pub(in crate::embedded) fn add_headers(&self) -> Result<(), LogError> {
        let add = || {
            if self.headers_column()? == HEADERS {
                return Ok(());
            }
            let behavior = TransactionBehavior::Immediate;
            let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
            // Another process may have done it meanwhile.
            if self.headers_column()? != HEADERS {
                transaction.execute_batch("ALTER TABLE entry ADD COLUMN headers TEXT")?;
            }
            transaction.commit()
        };
        add().map_err(|error| explain(&self.place, "adding the headers of entries", error))
    }

    /// What to select as the headers of an entry: a file that was made without them, and that nobody
    /// writes, has no such column. Once it is there it stays.
    fn headers_column(&self) -> rusqlite::Result<&'static str> {
        if self.has_headers.get() {
            return Ok(HEADERS);
        }
        let sql = "SELECT 1 FROM pragma_table_info('entry') WHERE name = 'headers'";
        self.has_headers.set(self.connection.prepare_cached(sql)?.exists([])?);
        Ok(if self.has_headers.get() { HEADERS } else { "NULL" })
    }

    /// The outbox that the claim at this index names, which may have been trimmed away.
    pub(super) fn outbox(&self, claim: u64) -> Result<Option<OutboxId>, LogError> {
        if claim == 0 {
            return Ok(None);
        }
        if claim < self.extent()?.first {
            let kept = self.trimmed()?.filter(|trimmed| trimmed.claim == claim);
            let outbox = kept.and_then(|trimmed| trimmed.outbox);
            let missing = || self.damaged(claim, "what was kept of it is not there");
            return outbox.map(Some).ok_or_else(missing);
        }
        match self.decode(claim)?.event {
            Event::EpochStarted { outbox, .. } => Ok(Some(outbox)),
            _ => Err(self.damaged(claim, "it is not an epoch's start, as a later entry says")),
        }
    }

    fn decode(&self, index: u64) -> Result<Entry, LogError> {
        let at = format!("entry {index}");
        let bytes: Vec<u8> = self
            .connection
            .prepare_cached("SELECT bytes FROM entry WHERE number = ?")
            .and_then(|mut statement| statement.query_row([key(index)], |row| row.get(0)))
            .map_err(|error| explain(&self.place, &at, error))?;
        Entry::decode(bytes.into()).map_err(|error| LogError::damaged(&self.place, at, error))
    }

    pub(super) fn damaged(&self, index: u64, what: &str) -> LogError {
        let (place, at) = (self.place.clone(), format!("entry {index}"));
        LogError::Corrupt { place, at, source: Some(what.into()) }
    }
}

fn append(
    connection: &mut Connection,
    origin: Position,
    after: &Tail,
    unit: &[Entry],
) -> rusqlite::Result<Option<Tail>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = newest(&transaction)?;
    let (index, digest, mut claim) =
        newest.unwrap_or_else(|| (0, origin.digest.as_bytes().to_vec(), 0));
    if index != after.position.index || digest != after.position.digest.as_bytes()[..] {
        return Ok(None);
    }
    let mut tail = after.clone();
    {
        let plain = "INSERT INTO entry (number, digest, claim, bytes) VALUES (?1, ?2, ?3, ?4)";
        // Every writer has added that column.
        let headed = "INSERT INTO entry (number, digest, claim, bytes, headers)
                      VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = transaction.prepare_cached(plain)?;
        for entry in unit {
            if matches!(entry.event, Event::EpochStarted { .. }) {
                claim = entry.index;
            }
            let (number, digest) = (key(entry.index), &entry.digest.as_bytes()[..]);
            let (claim, bytes) = (key(claim), entry.encode());
            if entry.headers.is_empty() {
                insert.execute(params![number, digest, claim, &bytes[..]])?;
            } else {
                let headers = entry.headers.encode();
                let mut insert = transaction.prepare_cached(headed)?;
                insert.execute(params![number, digest, claim, &bytes[..], headers])?;
            }
            tail = tail.after(entry, entry.index);
        }
    }
    transaction.commit()?;
    Ok(Some(tail))
}

/// Index, digest and newest claim of the newest entry.
fn newest(connection: &Connection) -> rusqlite::Result<Option<(u64, Vec<u8>, u64)>> {
    let sql = "SELECT number, digest, claim FROM entry ORDER BY number DESC LIMIT 1";
    let read = |row: &Row<'_>| Ok((number(row.get(0)?), row.get(1)?, number(row.get(2)?)));
    connection.prepare_cached(sql)?.query_row([], read).optional()
}

/// SQLite's integers are signed; no log gets as far as their end.
pub(super) fn key(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

pub(super) fn number(key: i64) -> u64 {
    u64::try_from(key).unwrap_or(0)
}
