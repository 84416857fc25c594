//! What can be read, and finding it.

use std::ops::RangeInclusive;
use std::str::FromStr;

use tipline_ops::text::number;
use tipline_proto::{Cursor, Hash, InvalidBytes, Key, Label, TransactionId};
use tipline_store::{StoreError, StoreReader};

use super::item::{self, Item, readable};
use crate::address::TypedHash;
use crate::output::report::{Failure, Sentence};
use crate::settings::Parsed;

/// What can be read.
#[derive(Debug, clap::Subcommand)]
pub(super) enum What {
    /// A block: by height, by hash, or the newest
    Block {
        /// Height, hash in hex (0x in front if it has only digits; in either byte order), or tip
        #[arg(value_parser = Parsed::<Which>::new())]
        block: Which,
    },
    /// A list of blocks
    Blocks {
        /// FIRST..LAST, both included; either may be left out
        #[arg(value_name = "FIRST..LAST", value_parser = heights)]
        heights: RangeInclusive<u64>,
    },
    /// The proof of a block: by the block's height or hash, or the newest of the proof tip
    Proof {
        /// Height, hash in hex (0x in front if it has only digits; in either byte order), or tip
        #[arg(value_parser = Parsed::<Which>::new())]
        block: Which,
    },
    /// A validated transaction
    Transaction {
        /// Its id, in hex
        #[arg(value_parser = Parsed::<TransactionId>::new())]
        id: TransactionId,
    },
    /// A recorded state
    Record {
        /// Its key: text, or bytes in hex with 0x in front
        #[arg(value_parser = key)]
        key: Key,
    },
    /// A named restore point
    Mark {
        /// Its name
        #[arg(value_parser = Parsed::<Label>::new())]
        name: Label,
    },
    /// How far the store is: cursor, block tip, proof tip
    Cursor,
}

/// Which block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Height(u64),
    Hash(Hash),
    Tip,
}

impl FromStr for Which {
    type Err = InvalidBytes;

    fn from_str(given: &str) -> Result<Self, InvalidBytes> {
        if given == "tip" {
            return Ok(Self::Tip);
        }
        match given.parse() {
            Ok(height) => Ok(Self::Height(height)),
            Err(_) => Ok(Self::Hash(given.parse::<TypedHash>()?.0)),
        }
    }
}

fn heights(given: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = given.split_once("..").ok_or("give FIRST..LAST, for example 100..120")?;
    let end = |text: &str, missing| match text {
        "" => Ok(missing),
        text => text.parse().map_err(|_| format!("{text:?} is not a height")),
    };
    let (first, last) = (end(first, 0)?, end(last, u64::MAX)?);
    if first > last {
        return Err(format!("{first} is above {last}: give the lower height first"));
    }
    Ok(first..=last)
}

fn key(given: &str) -> Result<Key, InvalidBytes> {
    match given.strip_prefix("0x") {
        Some(hex) => hex.parse(),
        None => Key::new(given.as_bytes()),
    }
}

impl What {
    /// Reads it from the store.
    ///
    /// # Errors
    /// It cannot be read, or is not there; then with what is there.
    pub(super) fn find(&self, reader: &dyn StoreReader) -> Result<Item, Failure> {
        let (what, found) = match self {
            Self::Block { block } => (named("block", block), find_block(reader, block)?),
            Self::Proof { block } => (named("proof of block", block), find_proof(reader, block)?),
            Self::Transaction { id } => {
                let found = reader.transaction(id)?.as_ref().map(item::transaction);
                (format!("transaction {id}"), found)
            }
            Self::Record { key } => {
                let found = reader.record(key)?.as_ref().map(item::record);
                (format!("record {}", readable(key)), found)
            }
            Self::Mark { name } => {
                (format!("mark {}", name.as_str()), reader.mark(name)?.as_ref().map(item::mark))
            }
            Self::Cursor => {
                let lowest = reader.heights()?.map(|(lowest, _)| lowest);
                let cursor = reader.cursor()?;
                let found = cursor.map(|cursor| item::cursor(&reader.place(), &cursor, lowest));
                ("cursor".to_owned(), found)
            }
            Self::Blocks { .. } => ("list".to_owned(), None),
        };
        match found {
            Some(found) => Ok(found),
            None => {
                let text = format!("{} has no {what}: {}", reader.place(), self.hint(reader)?);
                Err(Sentence(text).into())
            }
        }
    }

    /// What is there instead.
    fn hint(&self, reader: &dyn StoreReader) -> Result<String, StoreError> {
        let some = |what: &str, names: Vec<String>| match names.len() {
            0 => format!("there are no {what}"),
            10 => format!("among the {what} are {}", names.join(", ")),
            _ => format!("there are the {what} {}", names.join(", ")),
        };
        Ok(match self {
            Self::Transaction { .. } => {
                let ids = reader.transaction_ids(None, 10)?;
                some("transactions", ids.iter().map(ToString::to_string).collect())
            }
            Self::Record { .. } => {
                some("records", reader.keys(None, 10)?.iter().map(readable).collect())
            }
            Self::Mark { .. } => {
                let names = reader.marks(None, 10)?;
                some("marks", names.iter().map(|name| name.as_str().to_owned()).collect())
            }
            Self::Proof { .. } => {
                let lowest = reader.heights()?.map(|(lowest, _)| lowest);
                let tip = reader.cursor()?.and_then(|cursor| cursor.proof_tip);
                match tip.filter(|tip| lowest.is_some_and(|lowest| lowest <= *tip)) {
                    Some(tip) => {
                        format!("{}, up to {} no proof is missing", held(reader)?, number(tip))
                    }
                    None => format!("{}, the lowest is not proven yet", held(reader)?),
                }
            }
            _ => held(reader)?,
        })
    }
}

/// Which blocks the store has.
pub(super) fn held(reader: &dyn StoreReader) -> Result<String, StoreError> {
    Ok(match reader.heights()? {
        Some((lowest, highest)) => {
            format!("it has blocks {} to {}", number(lowest), number(highest))
        }
        None => "it has no blocks yet".to_owned(),
    })
}

fn named(what: &str, which: &Which) -> String {
    match which {
        Which::Height(height) => format!("{what} {height}"),
        Which::Hash(hash) => format!("{what} {hash}"),
        Which::Tip => format!("{what} at the tip"),
    }
}

fn find_block(reader: &dyn StoreReader, which: &Which) -> Result<Option<Item>, StoreError> {
    let block = match which {
        Which::Height(height) => reader.block(*height)?,
        Which::Hash(hash) => match reader.block_by_hash(hash)? {
            // As Bitcoin's explorers print it.
            None => reader.block_by_hash(&hash.reversed())?,
            found => found,
        },
        Which::Tip => at_tip(reader, |cursor| match &cursor.block_tip {
            Some(tip) => Ok(reader.block(tip.height)?.filter(|block| block.hash == tip.hash)),
            None => Ok(None),
        })?,
    };
    let Some(block) = block else { return Ok(None) };
    let proof = reader.proof(block.height)?.filter(|proof| proof.block_hash == block.hash);
    Ok(Some(item::block(&block).with("proven", proof.is_some().into())))
}

/// How often in a row a store may be applied to between two reads: a batch each time.
const ATTEMPTS: usize = 100;

/// What is found at a tip of the cursor. That it is not there is found out by two reads, and may be
/// said of one state only: a store that is applied to in between is read again.
fn at_tip<T>(
    reader: &dyn StoreReader,
    find: impl Fn(&Cursor) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(cursor) = reader.cursor()? else { return Ok(None) };
        let found = find(&cursor)?;
        if found.is_some() || reader.cursor()?.as_ref() == Some(&cursor) {
            return Ok(found);
        }
    }
    let what = format!("reading its tip, which moved {ATTEMPTS} times meanwhile; try again");
    Err(StoreError::Failed { place: reader.place(), what, source: None })
}

fn find_proof(reader: &dyn StoreReader, which: &Which) -> Result<Option<Item>, StoreError> {
    let proof = match which {
        Which::Height(height) => reader.proof(*height)?,
        Which::Hash(hash) => match reader.proof_by_hash(hash)? {
            None => reader.proof_by_hash(&hash.reversed())?,
            found => found,
        },
        Which::Tip => {
            at_tip(reader, |cursor| cursor.proof_tip.map_or(Ok(None), |tip| reader.proof(tip)))?
        }
    };
    Ok(proof.as_ref().map(item::proof))
}

#[cfg(test)]
mod tests {
    use super::{Which, heights, key, readable};

    #[test]
    fn a_block_is_a_height_a_hash_or_the_tip() {
        let which = |text: &str| text.parse::<Which>().unwrap();
        assert_eq!(which("170"), Which::Height(170));
        assert_eq!(which("tip"), Which::Tip);
        assert_eq!(which("0x170a"), Which::Hash("170a".parse().unwrap()));
        assert_eq!(which("ab"), Which::Hash("ab".parse().unwrap()));
        assert!("block".parse::<Which>().unwrap_err().to_string().contains("hex"));
    }

    #[test]
    fn a_range_has_both_ends_in_it() {
        assert_eq!(heights("1..3"), Ok(1..=3));
        assert_eq!(heights("..3"), Ok(0..=3));
        assert_eq!(heights("1.."), Ok(1..=u64::MAX));
        for wrong in ["1", "3..1", "a..b"] {
            heights(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_key_is_typed_as_it_is_shown() {
        for text in ["allow-list", "0x00ff"] {
            assert_eq!(readable(&key(text).unwrap()), text);
        }
    }
}
