//! `tipline restore`: a store as it was, from checkpoints, archives and the log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use indicatif::HumanBytes;
use serde::Serialize;
use tipline_backup::{
    Plan, PlannedCheckpoint, PreparedRestore, RestoreError, RestoreProgress, RestoreReport,
    RestoreSettings, SeenHeights, SignFloor, Sources, StorePlace, Verification,
};
use tipline_log::{Log, system_clock};
use tipline_ops::text::{age, number};
use tipline_proto::{Digest, Label};
use tokio::sync::watch;

use crate::address::{StoreAddress, TargetAddress};
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::open::store;
use crate::options::{Shared, SourceArgs};
use crate::output::escape::line;
use crate::output::progress;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline restore --store sqlite:chain.db --from s3://backup/mainnet --dry-run
  tipline restore --store sqlite:chain.db --from s3://backup/mainnet --to height:1200000
  tipline restore --store files:blocks --from dir:/backup --from log --to time:2026-11-21T15:00:00Z --exclusive
  tipline restore --store rocksdb:db --from dir:/backup --if-empty --if-available   # init container
  tipline restore --store sqlite:chain.db --from s3://backup/mainnet --to index:9120 --expect-digest 5f…

The places are trusted to be what they say: whoever can write to them can write another history.
--expect-digest holds a restore to what you know from elsewhere: to all entries up to the digest, from
the first one on. What a checkpoint holds no digest tells, so none is used, and nothing is resumed.

The store is staged beside its place, and renamed once it is complete and verified. After an
interruption the same command resumes. Missing entries are never bridged.

Exit codes:
   10  the target is older than everything that is kept
   11  the target is not there yet, or not known
   12  entries on the way to the target are missing
   13  what is needed is corrupt wherever it is kept
   14  the places, or the store, are of different logs
   15  there is a store already
   16  a place, or the log, does not answer")]
pub(crate) struct RestoreArgs {
    /// The store to make: sqlite:PATH, rocksdb:PATH, files:PATH, or composite:…
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE")]
    #[arg(value_parser = Parsed::<StoreAddress>::new())]
    store: StoreAddress,

    #[command(flatten)]
    sources: SourceArgs,

    /// The point: latest, height:N, hash:HEX, time:2026-11-21T15:04:05Z, index:N, mark:NAME
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    #[arg(value_parser = Parsed::<TargetAddress>::new())]
    to: TargetAddress,

    /// Stop just before the target instead of just after it
    #[arg(long)]
    exclusive: bool,

    /// Install nothing that does not end with this digest: the whole one that a receipt, a status or
    /// a report has of that entry. Give its entry too: --to index:N
    #[arg(long, value_name = "HEX")]
    #[arg(value_parser = Parsed::<Digest>::new())]
    expect_digest: Option<Digest>,

    /// Show what would be read and where it would end; change nothing
    #[arg(long)]
    dry_run: bool,

    /// How the result is verified before it is installed
    #[arg(long, value_enum, default_value = "normal")]
    verify: Verify,

    /// Replace an existing store
    #[arg(long)]
    force: bool,

    /// Succeed without doing anything if there is a store already
    #[arg(long, conflicts_with = "force")]
    if_empty: bool,

    /// Succeed without doing anything if there is nothing to restore from
    #[arg(long)]
    if_available: bool,

    /// Become the primary, under this name. Once the restore is certain to begin, it claims the log
    /// of --log, which fences the old primary for good, and writes STORE.sign-floor.json
    ///
    /// The sign floor is the highest height that the log, any archive, checkpoint or receipt has
    /// seen: a validator must not sign at or below it again. It never falls. With --dry-run
    /// everything is checked, and nothing claimed.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["if_empty", "if_available"])]
    #[arg(value_parser = Parsed::<Label>::new())]
    as_primary: Option<Label>,

    /// Print the plan or the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verify {
    /// Only what restoring checks anyway: hashes of files, digests of entries
    None,
    /// Opened again: it is where it should be, with a block at every height
    Normal,
    /// Everything is read back and compared with the entries
    Strict,
}

/// Restores, or says what it would do.
pub(crate) async fn run(shared: &Shared, args: RestoreArgs) -> Result<Exit, Failure> {
    let place = store::location(&args.store);
    // A store that is there needs no place to answer.
    if !args.force
        && !args.dry_run
        && let Err(error) = place.check_free()
    {
        return ended(&args, error);
    }
    let sources = match args.sources.open_shared(shared).await {
        Err(failure) if args.if_available && is_nothing(&failure) => {
            tracing::info!("{}: nothing to do", failure.text());
            return Ok(Exit::Ok);
        }
        sources => sources?,
    };
    let TargetAddress(target) = args.to.clone();
    let settings = RestoreSettings {
        target,
        exclusive: args.exclusive,
        verification: match args.verify {
            Verify::None => Verification::None,
            Verify::Normal => Verification::Normal,
            Verify::Strict => Verification::Strict,
        },
        force: args.force,
    };
    let primary = match &args.as_primary {
        Some(name) => Some(NewPrimary::prepare(shared, &sources, &place, name).await?),
        None => None,
    };
    if args.dry_run {
        return rehearse(&args, &sources, &place, &settings, primary).await;
    }
    let stop = signal::on_signal()?;
    let (sender, receiver) = watch::channel(RestoreProgress::default());
    let mut prepared = match PreparedRestore::new(sources, place, settings).await {
        Err(error) => return ended(&args, error),
        Ok(prepared) => prepared,
    };
    if let Some(digest) = args.expect_digest {
        prepared = prepared.expecting(digest).await?;
    }
    // It cannot be taken back: only now, when nothing is known that could refuse.
    let floor = match primary {
        Some(primary) => Some(primary.claim().await?),
        None => None,
    };
    if floor.is_some() {
        prepared.refresh().await?;
    }
    let restore = prepared.run(sender, stop);
    let done = tokio::select! {
        done = restore => done,
        never = progress::show(|| progress::restoring(*receiver.borrow())) => match never {},
    };
    progress::done();
    match done {
        Err(error) => ended(&args, error),
        Ok(report) if args.json => print_json(&Done { report, sign_floor: floor }),
        Ok(report) => {
            print(&(render(&report) + &floor.map(|floor| floor.render()).unwrap_or_default()))
        }
    }
}

/// All of it as one object.
#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    report: RestoreReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_floor: Option<WrittenFloor>,
}

/// A sign floor, and where it was written to.
#[derive(Serialize)]
struct WrittenFloor {
    file: PathBuf,
    #[serde(flatten)]
    floor: SignFloor,
}

impl WrittenFloor {
    fn render(&self) -> String {
        let SignFloor { height, epoch, continue_at, .. } = &self.floor;
        let height = height.map_or("no block was ever seen".to_owned(), |height| {
            let height = number(height);
            format!("never sign at or below {height} again, nor what was signed and never logged")
        });
        format!(
            "  primary of epoch {epoch}: every older one is fenced\n  sign floor, in {}: {height}\n  the new \
             primary continues at entry {}, digest {}\n",
            self.file.display(),
            number(continue_at.index),
            continue_at.digest
        ) + &unshown(&self.floor.beyond_entries())
    }
}

/// Who raises the floor above what entries show: an operator may know better.
fn unshown(beyond: &[(&str, u64)]) -> String {
    let each = beyond.iter().map(|(witness, height)| {
        let height = number(*height);
        line(format_args!("  no entry shows block {height}, and so the floor: only the {witness}"))
    });
    each.collect()
}

/// Says what would be done, without doing it. As primary all is checked that can refuse it.
async fn rehearse(
    args: &RestoreArgs,
    sources: &Sources,
    place: &StorePlace,
    settings: &RestoreSettings,
    primary: Option<NewPrimary>,
) -> Result<Exit, Failure> {
    let RestoreSettings { target, exclusive, .. } = settings;
    let plan = match &primary {
        Some(_) => PreparedRestore::rehearse(sources, place, settings).await,
        None => tipline_backup::plan_restore(sources, place, target, *exclusive).await,
    };
    let plan = match plan {
        Err(error) => return ended(args, error),
        Ok(plan) => plan,
    };
    let plan = match args.expect_digest {
        Some(digest) => sources.hold(plan, digest).await?,
        None => plan,
    };
    let seen = primary.map(|primary| primary.seen);
    if args.json {
        return print_json(&Rehearsed {
            sign_floor_at_least: seen.as_ref().map(SeenHeights::height),
            sign_floor_seen: seen.map(|seen| seen.seen),
            plan,
        });
    }
    let floor = seen.map(|seen| {
        let height = seen.height().map_or("none".to_owned(), number);
        format!("  would claim the log; the sign floor would be {height} or higher\n")
            + &unshown(&seen.beyond_entries())
    });
    print(&(render_plan(&plan) + &floor.unwrap_or_default()))
}

/// A plan as one object.
#[derive(Serialize)]
struct Rehearsed {
    #[serde(flatten)]
    plan: Plan,
    /// As primary: the sign floor as it would be now.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_floor_at_least: Option<Option<u64>>,
    /// The highest height that each has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_floor_seen: Option<BTreeMap<String, u64>>,
}

/// A primary that could claim the log now.
struct NewPrimary {
    name: Label,
    log: Arc<dyn Log>,
    at: String,
    file: PathBuf,
    /// What must not be signed again, as far as it is known before the claim.
    seen: SeenHeights,
}

impl NewPrimary {
    /// Checks all that can refuse, before anything that cannot be taken back.
    async fn prepare(
        shared: &Shared,
        sources: &Sources,
        place: &StorePlace,
        name: &Label,
    ) -> Result<Self, Failure> {
        let at = LogLocation::new(shared, "restore as primary")?.signs(shared)?;
        let log = at.open().await.map_err(|error| {
            at.explain(error.into())
                .advise("only the log can fence the old primary: --as-primary needs it")
        })?;
        tipline_log::check_claim(&*log).await.map_err(RestoreError::Log)?;
        let all = Sources { log: Some(Arc::clone(&log)), ..sources.clone() };
        let mut seen = all.seen_heights().await?;
        let first = place.parts.first().map(|(_, path)| path.clone()).unwrap_or_default();
        let file = PathBuf::from(format!("{}.sign-floor.json", first.display()));
        let earlier = match tokio::fs::read_to_string(&file).await {
            Ok(text) => seen.add_earlier(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        earlier.map_err(|why| {
            let what = format!("the sign floor in {} cannot be used: {why}", file.display());
            Failure::from(Sentence(what))
                .advise("a floor must never fall: put it right, or move it away")
        })?;
        Ok(Self { name: name.clone(), log, at: at.address(), file, seen })
    }

    /// Fences the old primary, and writes down what must not be signed again. Both come before
    /// there is a store to start a primary from.
    async fn claim(self) -> Result<WrittenFloor, Failure> {
        let Self { name, log, at, file, mut seen } = self;
        let claim = tipline_log::claim(&*log, name, &system_clock()).await;
        let claim = claim.map_err(RestoreError::Log)?;
        tracing::info!(epoch = claim.epoch, log = %at, "claimed: every older primary is fenced");
        // What it logged until then.
        let log = Sources { log: Some(log), ..Sources::default() };
        seen.add(log.seen_heights().await?);
        let floor = seen.floor(&claim);
        let text = serde_json::to_string_pretty(&floor)? + "\n";
        let written = file.clone();
        tokio::task::spawn_blocking(move || write_durably(&written, &text)).await??;
        Ok(WrittenFloor { file, floor })
    }
}

/// As a whole or not at all, and for good. Its directory is there: the store's place is prepared.
fn write_durably(file: &Path, text: &str) -> io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let temporary = file.with_extension("json.new");
    let mut writing = File::create(&temporary)?;
    writing.write_all(text.as_bytes())?;
    writing.sync_all()?;
    fs::rename(&temporary, file)?;
    File::open(parent)?.sync_all()
}

fn is_nothing(failure: &Failure) -> bool {
    matches!(failure.error().downcast_ref(), Some(RestoreError::NotFound { .. }))
}

/// Nothing was restored. For a script that accepts that, it is a success.
fn ended(args: &RestoreArgs, error: RestoreError) -> Result<Exit, Failure> {
    match &error {
        RestoreError::NotEmpty { .. } if args.if_empty => {
            tracing::info!("{error}: nothing to do");
            Ok(Exit::Ok)
        }
        RestoreError::NotFound { .. } if args.if_available => {
            tracing::info!("{error}: nothing to do");
            Ok(Exit::Ok)
        }
        _ => Err(error.into()),
    }
}

fn render_plan(plan: &Plan) -> String {
    let mut text = format!("to restore {}", plan.target);
    if plan.exclusive {
        text += ", exclusive";
    }
    text += &format!(": everything up to entry {}\n", number(plan.index));
    match &plan.checkpoint {
        None => text += "  from nothing\n",
        Some(from) => {
            let height = from.height.map(|height| format!(", block {}", number(height)));
            text += &line(format_args!(
                "  checkpoint {}: entry {}{}, {}, at {}{}",
                from.id,
                number(from.index),
                height.unwrap_or_default(),
                HumanBytes(from.bytes),
                from.place,
                logical_copy(from),
            ));
        }
    }
    for read in &plan.reads {
        let range = format!("entries {} to {}", number(read.first), number(read.last));
        text += &line(format_args!("  {range}: {}", read.name));
    }
    text += &format!("  {} to read\n", HumanBytes(plan.bytes));
    plan.notes.iter().for_each(|note| text += &line(format_args!("  not used: {note}")));
    text
}

fn logical_copy(from: &PlannedCheckpoint) -> String {
    from.of.as_ref().map(|of| format!(", a logical copy of {of}")).unwrap_or_default()
}

fn render(report: &RestoreReport) -> String {
    let at = &report.achieved;
    let mut text = format!("restored {} into {}", report.target, report.store);
    text += if report.exclusive { ", exclusive\n" } else { "\n" };
    text += &format!("  entry {}, digest {}, epoch {}\n", number(at.index), at.digest, at.epoch);
    if let (Some(height), Some(hash)) = (at.height, &at.hash) {
        let proof = at.proof_tip.map(|height| format!(", proven to {}", number(height)));
        text += &format!("  block {} ({hash}){}\n", number(height), proof.unwrap_or_default());
    }
    match (&report.checkpoint, report.resumed_at) {
        (_, Some(at)) => {
            text += &format!(
                "  resumed at entry {}, where an earlier attempt had stopped\n",
                number(at)
            );
        }
        (Some(from), None) => {
            let (id, at) = (&from.id, number(from.index));
            text += &line(format_args!("  from checkpoint {id}, entry {at}{}", logical_copy(from)));
        }
        (None, None) => text += "  from nothing\n",
    }
    let seconds = age(report.duration);
    text += &format!("  {} entries applied, {seconds}\n", number(report.entries));
    if let Some(content) = &report.content {
        text += &format!("  everything was read back: content {content}\n");
    }
    report.notes.iter().for_each(|note| text += &line(format_args!("  not used: {note}")));
    text
}

fn print(text: &str) -> Result<Exit, Failure> {
    say(text)?;
    Ok(Exit::Ok)
}

fn print_json(what: &impl Serialize) -> Result<Exit, Failure> {
    print(&(serde_json::to_string(what)? + "\n"))
}
