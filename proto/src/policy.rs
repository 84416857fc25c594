//! Policies: which receipts make an event *backed up*.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_NAME_BYTES;
use crate::name::ConsumerName;
use crate::receipt::{Level, Reached, UnknownLevel};

/// Which receipts make an event *backed up*.
///
/// ```text
/// policy  = clause *( "and" clause )
/// clause  = "any" NUMBER "of" pattern *( "," pattern ) "at" level
/// pattern = a consumer name in which * stands for any characters, or for none
/// level   = "applied" | "durable" | "verified" | "offsite"
/// ```
///
/// `any 2 of backup-*, archive at durable` is fulfilled by two different consumers out of
/// the pool that the patterns name, as in Postgres' `ANY 2 (…)` for synchronous standbys. A
/// consumer counts once, however many patterns name it.
///
/// Every clause must be fulfilled, each on its own:
/// `any 2 of backup-* at durable and any 1 of archive at verified` asks for two pools at once.
///
/// [`FromStr`] reads it, [`fmt::Display`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    count: u32,
    pool: Vec<Pattern>,
    level: Level,
}

/// A consumer name in which `*` stands for any characters, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Box<str>);

/// A policy that cannot be read. The message says which word is wrong and what fits there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// A word is not what belongs there.
    #[error(
        "expected {expected} but found {found}; a policy reads: any 2 of backup-*, archive at durable"
    )]
    Unexpected {
        /// What belongs there.
        expected: &'static str,
        /// What is there, or the end.
        found: String,
    },
    /// A level is not one.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// A pattern can match no consumer name.
    #[error("{0:?} names no consumer: use at most 32 of the characters a-z, 0-9, - and *")]
    Pattern(String),
    /// More consumers are asked for than the names allow.
    #[error("`any {count} of {pool}` can never be fulfilled: it names only {named}")]
    TooMany {
        /// How many are asked for.
        count: u32,
        /// How many different ones are named.
        named: usize,
        /// Their names.
        pool: String,
    },
}

impl Policy {
    /// The index up to which every event is backed up, given how far each consumer is; 0 if
    /// nothing is. Receipts that do not agree with the primary's digests must be left out by
    /// the caller, and every consumer must come once.
    pub fn backed_up<'a, I>(&self, consumers: I) -> u64
    where
        I: IntoIterator<Item = (&'a ConsumerName, &'a Reached)>,
        I::IntoIter: Clone,
    {
        let consumers = consumers.into_iter();
        self.clauses.iter().map(|clause| clause.reached(consumers.clone())).min().unwrap_or(0)
    }

    /// Whether receipts of this consumer can count at all.
    pub fn names(&self, consumer: &ConsumerName) -> bool {
        self.clauses.iter().any(|clause| clause.names(consumer))
    }
}

impl Clause {
    fn names(&self, consumer: &ConsumerName) -> bool {
        self.pool.iter().any(|pattern| pattern.matches(consumer.as_str()))
    }

    /// The furthest index that `count` consumers of the pool have reached.
    fn reached<'a>(&self, consumers: impl Iterator<Item = (&'a ConsumerName, &'a Reached)>) -> u64 {
        let mut indices: Vec<u64> = consumers
            .filter(|(name, _)| self.names(name))
            .filter_map(|(_, reached)| Some(reached.at(self.level)?.index))
            .collect();
        indices.sort_unstable_by(|a, b| b.cmp(a));
        indices.get(self.count as usize - 1).copied().unwrap_or(0)
    }
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        glob(self.0.as_bytes(), name.as_bytes())
    }
}

/// Greedy match with one point to go back to: linear in the name for each star.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    (p, n) = (star_p + 1, star_n + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let spaced = text.replace(',', " , ");
        let mut words = spaced.split_whitespace().peekable();
        let mut clauses = vec![clause(&mut words)?];
        while let Some(word) = words.next() {
            if word != "and" {
                return Err(unexpected("`and` or the end", Some(word)));
            }
            clauses.push(clause(&mut words)?);
        }
        Ok(Policy { clauses })
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn clause(words: &mut Words<'_>) -> Result<Clause, InvalidPolicy> {
    keyword(words, "any", "`any`")?;
    let word = words.next();
    let count = word
        .filter(|word| word.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|word| word.parse::<u32>().ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| unexpected("how many consumers, from 1", word))?;
    keyword(words, "of", "`of`")?;
    let mut pool = vec![pattern(words)?];
    while words.next_if(|word| *word == ",").is_some() {
        pool.push(pattern(words)?);
    }
    keyword(words, "at", "`,` or `at`")?;
    let level = words.next().ok_or_else(|| unexpected("a level", None))?.parse()?;
    check_fulfillable(count, &pool)?;
    Ok(Clause { count, pool, level })
}

fn check_fulfillable(count: u32, pool: &[Pattern]) -> Result<(), InvalidPolicy> {
    let names: BTreeSet<&str> = pool.iter().map(|pattern| &*pattern.0).collect();
    let named = names.len();
    let open = names.iter().any(|name| name.contains('*'));
    if open || count as usize <= named {
        return Ok(());
    }
    let pool = names.into_iter().collect::<Vec<_>>().join(", ");
    Err(InvalidPolicy::TooMany { count, named, pool })
}

fn pattern(words: &mut Words<'_>) -> Result<Pattern, InvalidPolicy> {
    let word = words.next();
    let Some(word) = word.filter(|word| *word != ",") else {
        return Err(unexpected("a consumer's name", word));
    };
    let usable = word.len() <= MAX_NAME_BYTES
        && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'*'));
    if usable { Ok(Pattern(word.into())) } else { Err(InvalidPolicy::Pattern(word.to_owned())) }
}

fn keyword(
    words: &mut Words<'_>,
    keyword: &str,
    expected: &'static str,
) -> Result<(), InvalidPolicy> {
    match words.next() {
        Some(word) if word == keyword => Ok(()),
        other => Err(unexpected(expected, other)),
    }
}

fn unexpected(expected: &'static str, found: Option<&str>) -> InvalidPolicy {
    let found = found.map_or_else(|| "the end".to_owned(), |word| format!("{word:?}"));
    InvalidPolicy::Unexpected { expected, found }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, clause) in self.clauses.iter().enumerate() {
            let and = if n == 0 { "" } else { " and " };
            write!(f, "{and}any {} of ", clause.count)?;
            for (n, pattern) in clause.pool.iter().enumerate() {
                let comma = if n == 0 { "" } else { ", " };
                write!(f, "{comma}{}", pattern.0)?;
            }
            write!(f, " at {}", clause.level)?;
        }
        Ok(())
    }
}
