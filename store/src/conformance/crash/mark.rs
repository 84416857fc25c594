//! What a child tells of its work, each before or after it is done.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// One thing told. Numbers are the index of an entry: the last of a batch, or the cursor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    Opening,
    /// With the cursor, if the store was created.
    Opened(Option<u64>),
    Creating,
    Created,
    Applying(u64),
    Applied(u64),
    /// The copy that was there is going, and another one is made.
    Copying,
    /// It is whole and durable: of which moment, and of which kinds of stores, with `+` between.
    Copied(u64, String),
    /// There is nothing more to apply.
    End,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Opening => write!(f, "opening"),
            Mark::Opened(None) => write!(f, "opened"),
            Mark::Opened(Some(at)) => write!(f, "opened {at}"),
            Mark::Creating => write!(f, "creating"),
            Mark::Created => write!(f, "created"),
            Mark::Applying(to) => write!(f, "applying {to}"),
            Mark::Applied(to) => write!(f, "applied {to}"),
            Mark::Copying => write!(f, "copying"),
            Mark::Copied(of, kinds) => write!(f, "copied {of} {kinds}"),
            Mark::End => write!(f, "end"),
        }
    }
}

impl Mark {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let number = rest.parse().ok();
        match word {
            "opening" => Some(Mark::Opening),
            "opened" => Some(Mark::Opened(number)),
            "creating" => Some(Mark::Creating),
            "created" => Some(Mark::Created),
            "applying" => number.map(Mark::Applying),
            "applied" => number.map(Mark::Applied),
            "copying" => Some(Mark::Copying),
            "copied" => {
                let (of, kinds) = rest.split_once(' ')?;
                Some(Mark::Copied(of.parse().ok()?, kinds.to_owned()))
            }
            "end" => Some(Mark::End),
            _ => None,
        }
    }

    /// A mark in a line of the child's output, which has other lines too.
    pub(super) fn in_output(line: &str) -> Option<Self> {
        line.split_once(BEGIN).and_then(|(_, mark)| Mark::parse(mark))
    }
}

const BEGIN: &str = "@@ ";

/// Where a child tells its marks: one write each.
#[derive(Debug)]
pub(super) enum Marks {
    /// To the parent, on its output.
    Output,
    /// To the recorder, which puts them between what it records, and obeys some.
    Recorder(File),
}

impl Marks {
    pub(super) fn to_recorder(path: &Path) -> Self {
        Marks::Recorder(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    pub(super) fn tell(&mut self, mark: &impl fmt::Display) {
        match self {
            // The line may have been begun by the test harness.
            Marks::Output => {
                let mut output = io::stdout().lock();
                output.write_all(format!("\n{BEGIN}{mark}\n").as_bytes()).unwrap();
                output.flush().unwrap();
            }
            Marks::Recorder(file) => file.write_all(mark.to_string().as_bytes()).unwrap(),
        }
    }
}
