//! The thread that follows the files.

use std::fmt::Debug;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tipline_log::error_chain;
use tipline_producer::OutboxError;
use tipline_proto::Label;
use tokio::sync::{Notify, watch};

use super::changes::{ChangeKind, FileChanges};

/// Everything is scanned this often, notified or not. Some file systems send no notifications.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where the system gives no notification.
pub(super) const UNWATCHED: Duration = Duration::from_secs(5);
/// A new directory is scanned again after this time. What was written into it before it
/// was watched was not notified.
const NEW_DIRECTORY: Duration = Duration::from_secs(1);
/// The files are looked at this often, notified or not, for what is gone or replaced.
const LOOK: Duration = Duration::from_secs(2);
/// What is wrong for a shorter time is not worth a word: a node is writing.
const GRACE: Duration = Duration::from_secs(3);
/// What failed for a reason that may pass is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// `ENFILE` and `EMFILE`, which are these on every Unix.
const NO_DESCRIPTORS: [i32; 2] = [23, 24];
/// Notifications that may wait. With more, everything is scanned instead.
const NOTICES: usize = 4096;

/// What came of a look: when to look again if nothing changes, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    again_in: Duration,
    wrong: Option<String>,
}

impl Look {
    /// Nothing is wrong, and nothing is waited for.
    pub(crate) fn when_changed() -> Self {
        Self { again_in: LOOK, wrong: None }
    }

    /// Publishing waits for something that only an operator, or the node, can mend. The same
    /// trouble always has the same text. Only the first one counts.
    pub(crate) fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong = self.wrong.take().or_else(|| Some(what()));
    }

    /// After this time at the latest.
    pub(crate) fn within(&mut self, time: Duration) {
        self.again_in = self.again_in.min(time);
    }

    /// When what failed, or found no room, is tried again.
    pub(crate) fn retry(&mut self) {
        self.within(RETRY);
    }
}

/// What looks at the files and enqueues what is complete.
pub(crate) trait Scan: Send + 'static {
    /// Looks once.
    ///
    /// # Errors
    /// [`OutboxError::Failed`] is tried again; every other error stops the outbox.
    fn scan(&mut self, changes: &mut FileChanges) -> Result<Look, OutboxError>;

    /// Enqueues a mark that an operator asked for.
    ///
    /// # Errors
    /// It was not enqueued.
    fn mark(&mut self, name: &Label) -> Result<(), OutboxError>;
}

/// Whether a file matters, by its name.
pub(crate) type Relevant = Box<dyn Fn(&str) -> bool + Send>;

/// What is watched.
pub(crate) struct Watched {
    /// The directory.
    pub(crate) root: PathBuf,
    /// Whether the directories in it are watched too.
    pub(crate) recursive: bool,
    /// Which file names matter.
    pub(crate) relevant: Relevant,
}

pub(super) enum Notice {
    File(PathBuf, ChangeKind),
    Directory,
    Lost,
    Mark(Mark),
    Stop,
}

/// A mark to enqueue, and where to say what came of it.
pub(super) struct Mark {
    name: Label,
    done: SyncSender<Result<(), OutboxError>>,
}

/// Asks the thread for marks: nobody else may write to the index.
#[derive(Clone)]
pub(crate) struct FileMarks {
    notices: SyncSender<Notice>,
    ended: Arc<OnceLock<OutboxError>>,
    place: String,
}

impl Debug for FileMarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileMarks").field("place", &self.place).finish_non_exhaustive()
    }
}

impl FileMarks {
    /// Waits until it is enqueued.
    pub(crate) fn mark(&self, name: &Label) -> Result<(), OutboxError> {
        let (done, made) = sync_channel(1);
        let mark = Mark { name: name.clone(), done };
        // A full queue is no reason to wait without end.
        let sent = self.notices.try_send(Notice::Mark(mark)).is_ok();
        match made.recv() {
            Ok(made) => made,
            Err(_) => {
                Err(self.ended.get().map_or_else(|| self.failed(sent), OutboxError::duplicate))
            }
        }
    }

    fn failed(&self, sent: bool) -> OutboxError {
        let why = if sent { "it was closed" } else { "too many changes of files wait" };
        let what = format!("enqueueing a mark: {why}");
        OutboxError::Failed { place: self.place.clone(), what, source: None }
    }
}

/// The thread, until it is dropped.
pub(super) struct Follower {
    notices: SyncSender<Notice>,
    stop: Arc<AtomicBool>,
    ended: Arc<OnceLock<OutboxError>>,
    failure: watch::Receiver<Option<String>>,
    thread: Option<JoinHandle<()>>,
    /// Unless the system had none left.
    _watcher: Option<RecommendedWatcher>,
}

impl Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Follower {
    /// Starts watching, and then looks at everything. `wake` is notified when something was
    /// enqueued, and when the outbox has stopped. If the system has no watch left to give, what is
    /// new is found by looking, every [`UNWATCHED`].
    pub(super) fn start(
        watched: Watched,
        place: &str,
        scan: Box<dyn Scan>,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        Self::start_by(start_watcher, watched, place, scan, wake)
    }

    /// The same, with what starts the watcher.
    pub(super) fn start_by(
        start_watcher: impl FnOnce(
            Watched,
            SyncSender<Notice>,
            Arc<AtomicBool>,
        ) -> notify::Result<RecommendedWatcher>,
        watched: Watched,
        place: &str,
        scan: Box<dyn Scan>,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        let root = watched.root.clone();
        let cannot = |source: Box<dyn std::error::Error + Send + Sync>| OutboxError::Failed {
            place: place.to_owned(),
            what: format!("watching {}", root.display()),
            source: Some(source),
        };
        let (notices, queue) = sync_channel(NOTICES);
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(OnceLock::new());
        let (report, failure) = watch::channel(None);
        let watcher = match start_watcher(watched, notices.clone(), Arc::clone(&stop)) {
            Ok(watcher) => Some(watcher),
            Err(error) if is_limit(&error) => {
                tracing::warn!(
                    directory = %root.display(), %error,
                    "the system gives no file notification: new files are found after up to {} s; on \
                     Linux, raise fs.inotify.max_user_instances or fs.inotify.max_user_watches, and \
                     start again",
                    UNWATCHED.as_secs()
                );
                None
            }
            Err(error) => return Err(cannot(error.into())),
        };
        let mut task = Task {
            rescan_every: if watcher.is_some() { RESCAN } else { UNWATCHED },
            scan,
            queue,
            marks: Vec::new(),
            stop: Arc::clone(&stop),
            ended: Arc::clone(&ended),
            failure: report,
            suspicion: None,
            wake,
        };
        let thread = thread::Builder::new().name("tipline-files".to_owned());
        let place = place.to_owned();
        let thread = thread.spawn(move || {
            // Whatever it leaves behind is not looked at any more.
            if panic::catch_unwind(AssertUnwindSafe(|| task.run())).is_err() {
                let what = "the thread that follows the files panicked: report it, with what was \
                            printed before, and start again"
                    .to_owned();
                task.fail(OutboxError::Internal { place, what });
            }
        });
        let thread = thread.map_err(|error| cannot(error.into()))?;
        Ok(Self { notices, stop, ended, failure, thread: Some(thread), _watcher: watcher })
    }

    /// For whoever asks for marks.
    pub(super) fn marks(&self, place: String) -> FileMarks {
        FileMarks { notices: self.notices.clone(), ended: Arc::clone(&self.ended), place }
    }

    /// What has stopped the outbox, if anything has.
    pub(super) fn ended(&self) -> Option<OutboxError> {
        self.ended.get().map(OutboxError::duplicate)
    }

    /// What is wrong with the files, for as long as it is.
    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // If the queue is full, the thread is awake, and looks at the flag next.
        _ = self.notices.try_send(Notice::Stop);
        // If it panicked, that was said.
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// Whether the system has none left to give: no instance, no watch, or no descriptor.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => {
            error.kind() == io::ErrorKind::StorageFull
                || error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code))
        }
        _ => false,
    }
}

/// Starts the watcher.
fn start_watcher(
    watched: Watched,
    notices: SyncSender<Notice>,
    stop: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let relevant = watched.relevant;
    let handler = move |event: notify::Result<Event>| {
        let notice = match event {
            Ok(event) => of_event(event, &relevant),
            Err(error) => {
                tracing::warn!(%error, "file notifications fail; new files are found every {RESCAN:?} only");
                Some(Notice::Lost)
            }
        };
        // A full queue holds up the watcher's thread, and the kernel says it if that loses any.
        if let Some(notice) = notice
            && !stop.load(Ordering::SeqCst)
        {
            _ = notices.send(notice);
        }
    };
    let mut watcher = notify::recommended_watcher(handler)?;
    let mode =
        if watched.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    watcher.watch(&watched.root, mode)?;
    Ok(watcher)
}

fn of_event(mut event: Event, relevant: &Relevant) -> Option<Notice> {
    if event.need_rescan() {
        return Some(Notice::Lost);
    }
    let seen = match event.kind {
        EventKind::Create(CreateKind::Folder) => return Some(Notice::Directory),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => ChangeKind::Closed,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
            ChangeKind::Renamed
        }
        // Only where the end of writing is notified too.
        EventKind::Modify(ModifyKind::Data(_)) if cfg!(target_os = "linux") => ChangeKind::Writing,
        EventKind::Access(_) => return None,
        _ => ChangeKind::Touched,
    };
    let path = event.paths.pop()?;
    if path.is_dir() && seen == ChangeKind::Renamed {
        return Some(Notice::Directory);
    }
    let name = path.file_name().and_then(|name| name.to_str())?;
    relevant(name).then(|| Notice::File(path.clone(), seen))
}

struct Task {
    rescan_every: Duration,
    scan: Box<dyn Scan>,
    queue: Receiver<Notice>,
    /// Those that are asked for.
    marks: Vec<Mark>,
    stop: Arc<AtomicBool>,
    ended: Arc<OnceLock<OutboxError>>,
    failure: watch::Sender<Option<String>>,
    /// What has been wrong since when, if it is not worth a word yet.
    suspicion: Option<(String, Instant)>,
    wake: Arc<Notify>,
}

impl Task {
    fn run(&mut self) {
        let mut changes = FileChanges::new();
        let mut rescan = Instant::now() + self.rescan_every;
        while !self.stop.load(Ordering::SeqCst) {
            let look = match self.scan.scan(&mut changes) {
                Ok(look) => self.report(look),
                Err(error @ OutboxError::Failed { .. }) => {
                    self.say(format!("{}; it is tried again", error_chain(&error)));
                    changes.look_at_everything();
                    Look { again_in: RETRY, wrong: None }
                }
                Err(error) => return self.fail(error),
            };
            for Mark { name, done } in self.marks.drain(..) {
                // Whoever asked may have gone.
                _ = done.send(self.scan.mark(&name));
            }
            let until = (Instant::now() + look.again_in).min(rescan);
            self.wait(&mut changes, until, &mut rescan);
            if Instant::now() >= rescan {
                changes.look_at_everything();
                rescan = Instant::now() + self.rescan_every;
            }
        }
    }

    /// Says what is wrong once it has been so for a while, and no longer than it is so.
    fn report(&mut self, mut look: Look) -> Look {
        let Some(what) = look.wrong.take() else {
            self.suspicion = None;
            if self.failure.send_replace(None).is_some() {
                tracing::info!("nothing is wrong with the node's files any more");
            }
            return look;
        };
        let since = match self.suspicion.take() {
            Some((before, since)) if before == what => since,
            _ => Instant::now(),
        };
        match GRACE.checked_sub(since.elapsed()) {
            Some(left) if !left.is_zero() => look.within(left),
            _ => self.say(what.clone()),
        }
        self.suspicion = Some((what, since));
        look
    }

    /// Says something once.
    fn say(&self, what: String) {
        if self.failure.borrow().as_ref() != Some(&what) {
            tracing::warn!("{what}");
            self.failure.send_replace(Some(what));
        }
    }

    /// Waits until there is a reason to look, and takes in all that was noticed until then.
    fn wait(&mut self, changes: &mut FileChanges, until: Instant, rescan: &mut Instant) {
        loop {
            let mut look = match self.queue.recv_timeout(until - Instant::now()) {
                Ok(notice) => take(changes, notice, rescan, &mut self.marks),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            for notice in self.queue.try_iter().take(NOTICES) {
                look |= take(changes, notice, rescan, &mut self.marks);
            }
            if look {
                return;
            }
        }
    }

    fn fail(&self, error: OutboxError) {
        tracing::error!(
            error = error_chain(&error),
            "the outbox over the node's files has stopped"
        );
        let what = error_chain(&error);
        // Set once. The thread ends here.
        _ = self.ended.set(error);
        self.failure.send_replace(Some(what));
        self.wake.notify_one();
    }
}

fn take(
    changes: &mut FileChanges,
    notice: Notice,
    rescan: &mut Instant,
    marks: &mut Vec<Mark>,
) -> bool {
    match notice {
        Notice::File(path, seen) => return changes.record(path, seen),
        Notice::Directory => {
            changes.look_at_everything();
            *rescan = (*rescan).min(Instant::now() + NEW_DIRECTORY);
        }
        Notice::Lost => changes.forget(),
        Notice::Mark(mark) => marks.push(mark),
        Notice::Stop => {}
    }
    true
}
