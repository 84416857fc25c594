//! `tipline retention --archive`: what an archive may forget.

use std::time::Duration;

use anstyle::Style;
use serde::Serialize;
use tipline_backup::{Archive, ArchivePlan, ArchiveRange, RestoreError, Throttle};
use tipline_log::system_clock;
use tipline_ops::text::{count, number};

use super::ages::AgesView;
use super::lines::{field, span};
use super::options::RetentionArgs;
use crate::exit::Exit;
use crate::options::{Shared, SourceArgs};
use crate::output::escape::plain;
use crate::output::report::{Failure, Sentence, say};

/// Explains, and removes with --confirm.
pub(super) async fn run(
    shared: &Shared,
    address: &str,
    args: &RetentionArgs,
) -> Result<Exit, Failure> {
    let Some(keep_for) = args.keep_for.map(Duration::from) else {
        let none = Sentence("how much of the archive is to be kept is not said".to_owned());
        return Err(Failure::from(none).advise("for example --keep-for 90d"));
    };
    let archive = open(address, args).await?.requiring(shared.signing.trust()?);
    let now = system_clock()();
    let plan = if args.confirm {
        archive.expire(keep_for, now, &Throttle::none()).await?
    } else {
        archive.plan_expiry(keep_for, now).await?
    };
    let explained = Explained::of(&plan);
    say(&if args.json { serde_json::to_string(&explained)? + "\n" } else { explained.text() })?;
    Ok(if plan.is_well() { Exit::Ok } else { Exit::Degraded })
}

async fn open(address: &str, args: &RetentionArgs) -> Result<Archive, Failure> {
    let from = vec![address.to_owned()];
    let sources = SourceArgs { from, identity: args.identity.clone() };
    let found = sources.open_one(address).await?;
    if let Some(damaged) = found.damaged.first() {
        return Err(RestoreError::Archive(damaged.error()).into());
    }
    let none = || Failure::from(Sentence(format!("there is no archive at {address}")));
    found.archives.into_iter().next().ok_or_else(none)
}

/// The plan as it is shown. Serialised, it is the object of `--json`: keep the names stable.
#[derive(Debug, Serialize)]
struct Explained {
    archive: String,
    held: Held,
    /// The oldest entry that stays.
    keep_from: u64,
    /// From this entry on everything can be restored; the whole archive, if it is null.
    reachable_from: Option<u64>,
    /// The checkpoint that it is restored from.
    checkpoint: Option<String>,
    /// The kinds of stores that it is of.
    media: Option<String>,
    segments: u64,
    bytes: u64,
    applied: bool,
    ages: AgesView,
    ranges: Vec<RangeView>,
}

#[derive(Debug, Serialize)]
struct Held {
    first: u64,
    last: u64,
}

#[derive(Debug, Serialize)]
struct RangeView {
    first: u64,
    last: u64,
    /// Why it is kept, in a sentence each; empty if it goes.
    kept_by: Vec<String>,
}

impl Explained {
    fn of(plan: &ArchivePlan) -> Self {
        let range = |range: &ArchiveRange| RangeView {
            first: range.first,
            last: range.last,
            kept_by: range.kept_by.iter().map(ToString::to_string).collect(),
        };
        Self {
            archive: plan.place.clone(),
            held: Held { first: plan.held.first, last: plan.held.last },
            keep_from: plan.first,
            reachable_from: plan.reachable_from,
            checkpoint: plan.start.as_ref().map(ToString::to_string),
            media: plan.media.clone(),
            segments: plan.segments,
            bytes: plan.bytes,
            applied: plan.applied,
            ages: AgesView::new(plan.ages),
            ranges: plan.ranges.iter().map(range).collect(),
        }
    }

    fn text(&self) -> String {
        let held = span(self.held.first, self.held.last);
        let mut text = field("archive", &format!("{}, {held}", plain(&self.archive)));
        text += &field("free", &self.free());
        text += &self.ages.text();
        if let (Some(from), Some(id), Some(media)) =
            (self.reachable_from, &self.checkpoint, &self.media)
        {
            let (from, media) = (number(from), plain(media));
            text += &field(
                "restore",
                &format!("from event {from} on, from checkpoint {id} of {media}"),
            );
        }
        for range in self.ranges.iter().filter(|range| !range.kept_by.is_empty()) {
            text += &field("kept", &format!("{}:", span(range.first, range.last)));
            range.kept_by.iter().for_each(|why| text += &field("", &format!("  {}", plain(why))));
        }
        text
    }

    fn free(&self) -> String {
        if self.segments == 0 {
            return "nothing may go".to_owned();
        }
        let bold = Style::new().bold();
        let (segments, bytes) = (count(self.segments, "segment"), count(self.bytes, "byte"));
        let free = format!("{segments} before event {}, {bytes}", number(self.keep_from));
        match self.applied {
            true => format!("{free}: removed"),
            false => format!("{free}: {bold}--confirm{bold:#} removes them"),
        }
    }
}
