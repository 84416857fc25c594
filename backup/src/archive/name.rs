//! Names of segments.

use std::fmt;

use tipline_proto::Position;
use tipline_proto::limits::MAX_INDEX;

use crate::destination::{Destination, DestinationError};

/// The folder of the segments.
pub(super) const FOLDER: &str = "segments";
const SUFFIX: &str = ".tips";
const INDEX_DIGITS: usize = 20;
const DIGEST_DIGITS: usize = 16;

/// The name of a segment says which entries it holds:
/// `segments/<first>-<last>-<digest>.tips`, both indexes with 20 digits, and the first 16 hex
/// digits of the last entry's digest. So listing the archive in the order of names is listing it
/// in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// Index of its first entry.
    pub first: u64,
    /// Index of its last entry.
    pub last: u64,
    /// The first 16 hex digits of the last entry's digest.
    pub digest: String,
    /// Length of the object in bytes, as listed or written.
    pub bytes: u64,
}

impl SegmentName {
    /// The segment of the entries from `first` to this position, with its size in bytes.
    pub fn new(first: u64, last: &Position, bytes: u64) -> Self {
        Self { first, last: last.index, digest: short(last), bytes }
    }

    /// The segment that an object of this name and length is; `None` if it is none.
    pub fn parse(object: &str, bytes: u64) -> Option<Self> {
        let name = object.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(SUFFIX)?;
        let mut parts = name.split('-');
        let mut index = || parts.next().filter(|text| is_index(text))?.parse().ok();
        let (first, last): (u64, u64) = (index()?, index()?);
        let digest = parts.next().filter(|text| is_digest(text))?.to_owned();
        let whole = parts.next().is_none() && 0 < first && first <= last && last <= MAX_INDEX;
        whole.then_some(Self { first, last, digest, bytes })
    }

    /// The segments at a destination, whatever describes them.
    pub(crate) async fn list(destination: &Destination) -> Result<Vec<Self>, DestinationError> {
        let objects = destination.list(FOLDER, None).await?;
        Ok(objects.iter().filter_map(|object| Self::parse(&object.name, object.bytes)).collect())
    }

    /// Whether it ends with this position, as far as its name tells.
    pub fn ends_at(&self, position: &Position) -> bool {
        self.last == position.index && self.digest == short(position)
    }
}

impl fmt::Display for SegmentName {
    /// The name of the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, digest, .. } = self;
        write!(f, "{FOLDER}/{first:0INDEX_DIGITS$}-{last:0INDEX_DIGITS$}-{digest}{SUFFIX}")
    }
}

fn short(position: &Position) -> String {
    let mut digits = position.digest.to_string();
    digits.truncate(DIGEST_DIGITS);
    digits
}

fn is_index(text: &str) -> bool {
    text.len() == INDEX_DIGITS && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
