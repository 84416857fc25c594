//! Inspecting a restored store before it is installed.

use std::sync::Arc;

use tipline_proto::{Cursor, Digest};
use tipline_store::{Store, StoreReader, content_digest_while};

use super::attempt::{Attempt, blocking};
use super::plan::Start;
use super::report::{RestoreProgress, Step, Verification};
use crate::error::RestoreError;
use crate::sources::DigestCheck;
use crate::sources::read_ahead::{ReadAhead, Wanted};
use crate::store_check::StoreCheck;

impl Attempt {
    /// Opens the staged store again and inspects it. Gives the digest of its content if it was read.
    pub(super) async fn inspect(
        &mut self,
        cursor: &Cursor,
        start: &Start,
        verification: Verification,
    ) -> Result<Option<Digest>, RestoreError> {
        if verification == Verification::None {
            return Ok(None);
        }
        let from = start.index();
        let of = self.plan.index - from.min(self.plan.index);
        self.progress.send_replace(RestoreProgress { step: Step::Verifying, done: 0, of });
        let (stage, expected) = (Arc::clone(&self.stage), cursor.clone());
        let (store, reader) = blocking(move || {
            let store = stage.open()?;
            let reader = store.reader()?;
            normal(&*reader, &expected)?;
            Ok((store, reader))
        })
        .await?;
        let content = match verification {
            Verification::Strict => {
                let check = StoreCheck::new(reader, cursor.clone());
                let check = match start {
                    Start::Nothing => check,
                    Start::Checkpoint { manifest, .. } => check.after(&manifest.cursor),
                };
                Some(self.inspect_all(check, from, of).await?)
            }
            _ => None,
        };
        // Closing may write.
        blocking(move || {
            drop(store);
            Ok(())
        })
        .await?;
        Ok(content)
    }

    /// Installs the staged store, and reads it where it lies then: a file that was left beside it
    /// would be part of it.
    pub(super) async fn install(
        &self,
        cursor: &Cursor,
        content: Option<Digest>,
        verification: Verification,
    ) -> Result<(), RestoreError> {
        let (stage, expected, stop) = (Arc::clone(&self.stage), cursor.clone(), self.stop.clone());
        let at = self.plan.index;
        let check = move |store: &dyn Store| {
            if verification == Verification::None {
                return Ok(());
            }
            let reader = store.reader()?;
            normal(&*reader, &expected)?;
            let Some(content) = content else { return Ok(()) };
            let proceed = || {
                if stop.is_cancelled() { Err(RestoreError::Cancelled { at }) } else { Ok(()) }
            };
            let found = content_digest_while(&*reader, proceed)?;
            if found == content {
                return Ok(());
            }
            differs("in its place it is not what it was when it was staged".to_owned())
        };
        blocking(move || stage.install(check)).await
    }

    /// Reads the entries once more and compares; then reads everything back.
    async fn inspect_all(
        &self,
        mut check: StoreCheck,
        from: u64,
        of: u64,
    ) -> Result<Digest, RestoreError> {
        let done = self.stop.child_token();
        let (sources, coverage) = (Arc::clone(&self.sources), self.inventory.coverage.clone());
        let (to, target) = (self.plan.index, self.plan.target.clone());
        let (notes, digests) = (Vec::new(), DigestCheck::BeforeSending);
        let wanted = Wanted { coverage, notes, after: from, to, target, check: digests };
        let (reading, mut source) = ReadAhead::start(sources, wanted, done);
        let mut at = from;
        while let Some(entries) = source.receive().await {
            if self.stop.is_cancelled() {
                return Err(RestoreError::Cancelled { at: to });
            }
            at = entries.last().map_or(at, |entry| entry.index);
            check = blocking(move || {
                check.entries(&entries)?;
                Ok(check)
            })
            .await?;
            let done = at - from;
            self.progress.send_replace(RestoreProgress { step: Step::Verifying, done, of });
        }
        drop(source);
        reading.ended().await?.result?;
        let stop = self.stop.clone();
        let proceed = move || {
            if stop.is_cancelled() { Err(RestoreError::Cancelled { at: to }) } else { Ok(()) }
        };
        blocking(move || {
            let compared = check.finish()?;
            if !compared.problems.is_empty() {
                return Err(RestoreError::Verification { what: compared.problems.join("; ") });
            }
            content_digest_while(&*check.into_reader(), proceed)
        })
        .await
    }
}

/// Whether the store stands there, and has a block at every height.
fn normal(reader: &dyn StoreReader, expected: &Cursor) -> Result<(), RestoreError> {
    let found = reader.cursor()?;
    if found.as_ref() != Some(expected) {
        let at = found.map_or("nowhere".to_owned(), |cursor| cursor.position.to_string());
        return differs(format!("it is at {at}, not at {}", expected.position));
    }
    let Some((lowest, highest)) = reader.heights()? else { return Ok(()) };
    let tip = expected.block_tip.as_ref();
    if tip.is_none_or(|tip| tip.height != highest) {
        return differs(format!("its highest block is {highest}, not its block tip"));
    }
    for height in lowest..=highest {
        let hash = reader.block_hash(height)?;
        let is_tip = tip.filter(|tip| tip.height == height);
        match (hash, is_tip) {
            (None, _) => return differs(format!("block {height} is missing")),
            (Some(hash), Some(tip)) if hash != tip.hash => {
                return differs(format!("block {height} is {hash}, not its block tip"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn differs(what: String) -> Result<(), RestoreError> {
    Err(RestoreError::Verification { what })
}
