//! The suite that every store must pass: what [`Sink`], [`Store`] and their readers promise,
//! as tests. For the stores of this crate, and for a node's own. A sink that is no store passes the
//! group `sink` alone: [`sink_conformance!`](crate::sink_conformance).
//!
//! Tell the suite how to open a store, and let [`store_conformance!`](crate::store_conformance)
//! write one test per case:
//!
//! ```text
//! fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
//!     Ok(Box::new(MyStore::open(directory.join("my.store"))?))
//! }
//!
//! tipline_store::store_conformance!(open);
//! ```
//!
//! A case panics where a promise is broken. What is random prints its seed first.
//!
//! # Crashes
//! The cases of the group `crash` interrupt the store at any instant and look at what is left:
//! it must open, hold exactly what its entries came to at the end of a batch, no less than it
//! had acknowledged, and continue from there to the end. The store runs in a child process: the
//! same test of the same program, run once more with the harness of the standard library. Now and
//! then it takes a snapshot, holds it for some batches, and copies it beside the store. A copy that
//! was whole stays whole, and one that was cut off does the store no harm. Where payloads have files
//! of their own, in block files and in RocksDB, some must have been there when it was interrupted.
//!
//! - `killed`: the child is killed 20 times, at random moments of opening, creating, applying
//!   and closing; `TIPLINE_KILLS=200` for more.
//! - `power_cut` (Linux): all that children do to the files of the store's directory is recorded,
//!   by a library loaded before the C library; some of them die on the way. At 300 points
//!   of that (`TIPLINE_CRASHES=5000` for more) a state is made that a power cut may leave, and
//!   opened. Of a file's content all is there that an fsync followed; of the rest any writes and
//!   truncations, each possibly torn between sectors of 512 bytes. Of the names in a directory
//!   all are there that an fsync of that directory followed; of the rest the first few, in
//!   order. A file whose name is not there is lost. What a store shows when it is opened counts
//!   as acknowledged, as what it has applied does. A store on a medium that relies on
//!   [`Appends::InOrder`] says so, and so does what is written about it:
//!   `store_conformance!(open, Appends::InOrder)`.
//!
//! - `failing_writes` (Linux): by the same library, one operation on the store's files fails, in
//!   each run another one: no space for a write, a new file or a new name, once or until the store
//!   has said so, and then `statvfs` reports none either; half of a write and then no space; a
//!   quota that is used up until the store has said so; a write, an fsync (`fdatasync`, `syncfs`),
//!   or opening, renaming, removing or cutting a file that fails. 10 operations of each of these
//!   kinds (`TIPLINE_FAULTS=1000` for all of them), from the first opening on. The rules:
//!   - Opening may fail with [`NoSpace`](StoreError::NoSpace), [`Failed`](StoreError::Failed) or
//!     [`Unusable`](StoreError::Unusable), `create` and `apply` with `NoSpace` or `Failed`. The
//!     process neither ends nor panics. The fault is over with the first error; a second is one
//!     too many.
//!   - After a retryable error the same call succeeds, repeated for 10 s at most. After another the
//!     handle refuses the same call with `Failed`. In both cases a reader from before shows nothing
//!     of the batch. The store opens again in the same process, and continues to the end.
//!   - A store that says of a full disk that there is no space says so of a quota.
//!   - It need not be told that a write or an fsync failed, if nothing is lost by it. Whether
//!     something is, power cuts after the fault and at the end decide: what an fsync that failed
//!     was to make durable may be lost, whatever is fsynced later, until it is written again; for
//!     so Linux does it. This holds for a store that is opened again after the fault as well.
//!   - A handle that refuses says so when it is probed, too.
//!   - Taking or copying a snapshot may fail as `apply` may, or with
//!     [`Unavailable`](StoreError::Unavailable).
//!   - As the files are, without a power cut, the store opens too, with all that it acknowledged.
//!
//! What is recorded goes through the C library, so this needs one that is linked dynamically, and
//! `cc` to compile the recorder. Writes through mapped memory, with system calls of one's own
//! (as `rustix` makes them) or `io_uring` are not seen: what was changed unseen fails the test.
//! All files are on one filesystem, whose own metadata survives: a directory loses names, never
//! itself; a move between two directories shows the file in one of them or both. Permissions,
//! times and symbolic links are not checked. What was read is not altered: bits do not rot.
//!
//! Other tests of the program run meanwhile, and start processes. A lock of the kind of `flock`
//! is shared with a process that is just being started: let go of it explicitly, as
//! [`File::unlock`](std::fs::File::unlock) does, or a store that was closed seems to be in use.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a broken promise is a failed test, with its place; nothing else calls this"
)]

mod content;
mod crash;
pub mod history;
pub mod model;
mod reading;
mod refusals;
mod sink;

use std::path::Path;

use tempfile::TempDir;
use tipline_proto::Entry;

#[cfg(target_os = "linux")]
pub use self::crash::{Left, Promises, Recording};
use self::history::log;
use self::model::Model;
use self::sink::Opener;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::spec::{Sink, Store};

/// Opens the store under test for writing. The directory is there and is the store's own: empty
/// the first time, and with all that the store left in it later on.
pub type Open = fn(&Path) -> Result<Box<dyn Store>, StoreError>;

/// Opens the sink under test, likewise.
pub type OpenSink = fn(&Path) -> Result<Box<dyn Sink>, StoreError>;

/// What a filesystem does with a write that makes a file longer, when the power is cut before an
/// fsync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Appends {
    /// The file may have its new length without the new content, or with any part of it: all that
    /// POSIX says.
    #[default]
    Torn,
    /// Of the new content the beginning is kept, and the file is as long as that. So do ext4 with
    /// `data=ordered`, which is its default, XFS, Btrfs and ZFS: a length becomes durable after
    /// what it covers. SQLite calls it *safe append*; see "append atomicity" in Pillai et al.,
    /// *All File Systems Are Not Created Equal*, OSDI 2014, table 1.
    InOrder,
}

/// Runs one case by its name. `test` is the path of the test that calls this, crate and modules
/// and all: where a process is to be killed, it is that test of this program, run once more.
///
/// # Panics
/// A promise is broken; there is no such case.
pub fn run(test: &'static str, case: &str, open: Open, appends: Appends) {
    crash::play_child(open);
    if dispatch_sink(case, Opener::Store(open)) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = Place { test, open, appends, directory, flushes_all: false };
    assert!(dispatch(case, &place), "there is no case {case}");
}

/// Likewise, a case of `crash` for a store that flushes its whole file system.
///
/// # Panics
/// Likewise, and if it never did so.
#[cfg(all(test, feature = "files", target_os = "linux"))]
pub(crate) fn run_flushing_all(test: &'static str, case: &str, open: Open) {
    crash::play_child(open);
    let (directory, appends) = (tempfile::tempdir().unwrap(), Appends::Torn);
    let place = Place { test, open, appends, directory, flushes_all: true };
    assert!(dispatch(case, &place), "there is no case {case}");
}

/// Runs one case of the group `sink` by its name.
///
/// # Panics
/// A promise is broken; there is no such case.
pub fn run_sink(case: &str, open: OpenSink) {
    assert!(dispatch_sink(case, Opener::Sink(open)), "there is no case {case}");
}

/// One test per case of the suite. The argument is a [`conformance::Open`](crate::conformance::Open),
/// and an [`Appends`](crate::conformance::Appends) where the store relies on one. Several stores in
/// one crate have a module each.
#[macro_export]
macro_rules! store_conformance {
    ($open:expr) => {
        $crate::store_conformance!($open, $crate::conformance::Appends::Torn);
    };
    ($open:expr, $appends:expr) => {
        mod store_conformance {
            #[allow(unused_imports, reason = "the function may be named by its whole path")]
            use super::*;
            $crate::__sink_conformance_cases!(__store_conformance_test, $open, $appends);
            $crate::__store_conformance_cases!(__store_conformance_test, $open, $appends);
        }
    };
}

/// One test per case of the group `sink`. The argument is a
/// [`conformance::OpenSink`](crate::conformance::OpenSink).
#[macro_export]
macro_rules! sink_conformance {
    ($open:expr) => {
        mod sink_conformance {
            #[allow(unused_imports, reason = "the function may be named by its whole path")]
            use super::*;
            $crate::__sink_conformance_cases!(__sink_conformance_test, $open);
        }
    };
}

/// The list of cases, once: each is handed to the macro of `$crate` that is named.
#[doc(hidden)]
#[macro_export]
macro_rules! __sink_conformance_cases {
    ($then:ident, $($argument:tt)*) => {
        $crate::$then! {
            $($argument)*;
            sink: chain, of_no_log, of_another_log, out_of_order, proofs_begin_late,
                of_other_proofs;
        }
    };
}

/// The cases that only a store can pass.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_cases {
    ($then:ident, $($argument:tt)*) => {
        $crate::$then! {
            $($argument)*;
            content: any_history, any_batches, empty_payloads, large_payloads, many_rows, late_proofs,
                proven_again, bulk_load, rolled_back, rolled_back_within_a_batch, replaced_tip,
                transactions, records, marks;
            refusals: two_writers;
            reading: whole_batches, beside_rollbacks, snapshots, what_is_not_there, opened_again;
            crash: killed, #[cfg(target_os = "linux")] power_cut,
                #[cfg(target_os = "linux")] failing_writes;
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_test {
    ($open:expr, $appends:expr; $($module:ident: $($(#[$on:meta])? $case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the function may be named by its whole path")]
            use super::*;
            $(
                $(#[$on])?
                #[test]
                fn $case() {
                    let test = concat!(module_path!(), "::", stringify!($case));
                    $crate::conformance::run(test, stringify!($case), $open, $appends);
                }
            )+
        })+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __sink_conformance_test {
    ($open:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the function may be named by its whole path")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::conformance::run_sink(stringify!($case), $open);
                }
            )+
        })+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_dispatch {
    ($name:ident, $place:ident; $($module:ident: $($(#[$on:meta])? $case:ident),+;)+) => {
        match $name {
            $($($(#[$on])? stringify!($case) => $module::$case($place),)+)+
            _ => return false,
        }
    };
}

/// Whether there is such a case; it has passed then.
fn dispatch(case: &str, place: &Place) -> bool {
    crate::__store_conformance_cases!(__store_conformance_dispatch, case, place);
    true
}

fn dispatch_sink(case: &str, opener: Opener) -> bool {
    crate::__sink_conformance_cases!(__store_conformance_dispatch, case, opener);
    true
}

/// Where the store under test is, and how it is opened.
struct Place {
    test: &'static str,
    open: Open,
    appends: Appends,
    directory: TempDir,
    /// It flushes its whole file system, in every case of `crash`.
    flushes_all: bool,
}

impl Place {
    fn open(&self) -> Box<dyn Store> {
        (self.open)(self.directory.path()).unwrap()
    }

    /// A place beside it, for a store of its own.
    fn another(&self) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), ..*self }
    }

    /// A new store of the suite's log.
    fn create(&self) -> Subject {
        let mut store = self.open();
        store.create(&log()).unwrap();
        let reader = store.reader().unwrap();
        Subject { store, reader, model: Model::new(&log()) }
    }
}

/// The store under test, and what it must hold.
struct Subject {
    store: Box<dyn Store>,
    reader: Box<dyn StoreReader>,
    model: Model,
}

impl Subject {
    /// Applies the entries as one batch.
    fn apply(&mut self, entries: &[Entry]) {
        let batch = self.model.batch(entries);
        self.store.apply(&batch).unwrap();
        self.store.probe().unwrap();
    }

    fn check(&self, context: &str) {
        self.model.assert_is(&*self.reader, context);
    }

    /// Closes the store and opens it again: one writer at a time.
    fn reopened(self, place: &Place) -> Self {
        let Self { store, reader, model } = self;
        drop((store, reader));
        let store = place.open();
        let reader = store.reader().unwrap();
        Self { store, reader, model }
    }
}
