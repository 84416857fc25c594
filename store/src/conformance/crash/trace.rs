//! What the recorder wrote down, read.

use std::fs;
use std::path::Path;

use bytes::{Buf, Bytes};

/// One thing that happened on the filesystem, or was told. Directories and files are named by
/// their inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Created {
        directory: u64,
        name: String,
        inode: u64,
    },
    MadeDirectory {
        directory: u64,
        name: String,
        inode: u64,
    },
    Linked {
        directory: u64,
        name: String,
        inode: u64,
    },
    Removed {
        directory: u64,
        name: String,
    },
    Renamed {
        from: (u64, String),
        to: (u64, String),
        inode: u64,
    },
    Wrote {
        inode: u64,
        offset: u64,
        data: Bytes,
    },
    Resized {
        inode: u64,
        size: u64,
    },
    Zeroed {
        inode: u64,
        offset: u64,
        length: u64,
    },
    Synced {
        inode: u64,
    },
    SyncedAll,
    NotSynced {
        inode: u64,
    },
    NotSyncedAll,
    Mark(String),
    /// An operation was made to fail.
    Fault(String),
    /// Something that this cannot follow.
    Unsupported(String),
}

/// Reads a trace. A child that was ended in the middle may have left half a record at its end.
pub(super) fn read(path: &Path) -> Vec<Event> {
    let mut bytes = Bytes::from(fs::read(path).unwrap_or_default());
    let mut events = Vec::new();
    while let Some(event) = next(&mut bytes) {
        events.push(event);
    }
    events
}

/// # Panics
/// The recorder was not loaded, or the store writes elsewhere.
pub(super) fn assert_recorded_something(events: &[Event]) {
    let told = events.iter().any(|event| matches!(event, Event::Mark(_)));
    assert!(told, "nothing was recorded: is the program linked with its C library statically?");
    let wrote = events.iter().any(|event| matches!(event, Event::Wrote { .. }));
    assert!(wrote, "the store wrote nothing in its directory, or past the C library");
}

/// As `struct record` has it, and after it the two names and the data.
fn next(bytes: &mut Bytes) -> Option<Event> {
    let mut header = bytes.get(..64)?;
    let (kind, name, other_name) = (header.get_u32_ne(), header.get_u32_ne(), header.get_u32_ne());
    header.advance(4);
    let [inode, directory, other_directory, offset, length, data] =
        [(); 6].map(|()| header.get_u64_ne());
    let (name, other_name, data) = (name as usize, other_name as usize, data as usize);
    if bytes.len() < 64 + name + other_name + data {
        return None;
    }
    bytes.advance(64);
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let (name, other_name) = (text(bytes.split_to(name)), text(bytes.split_to(other_name)));
    let data = bytes.split_to(data);
    Some(match kind {
        1 => Event::Created { directory, name, inode },
        2 => Event::MadeDirectory { directory, name, inode },
        3 => Event::Linked { directory, name, inode },
        4 => Event::Removed { directory, name },
        5 => Event::Renamed { from: (directory, name), to: (other_directory, other_name), inode },
        6 => Event::Wrote { inode, offset, data },
        7 => Event::Resized { inode, size: length },
        8 => Event::Zeroed { inode, offset, length },
        9 => Event::Synced { inode },
        10 => Event::SyncedAll,
        11 => Event::NotSynced { inode },
        12 => Event::NotSyncedAll,
        13 => Event::Mark(text(data)),
        14 => Event::Fault(text(data)),
        15 => Event::Unsupported(text(data)),
        kind => panic!("a record of the kind {kind}"),
    })
}
