//! Policies: their text, and which index they say is backed up.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_assert_eq, proptest};

use super::arbitrary;
use crate::{ConsumerName, Digest, Level, Policy, Position, Reached};

/// A policy by its parts, to be evaluated without any cleverness.
#[derive(Debug, Clone)]
struct Model(Vec<Clause>);

#[derive(Debug, Clone)]
struct Clause {
    count: usize,
    patterns: Vec<String>,
    level: Level,
}

impl Model {
    fn text(&self) -> String {
        let clauses = self.0.iter().map(|clause| {
            let patterns = clause.patterns.join(", ");
            format!("any {} of {patterns} at {}", clause.count, clause.level)
        });
        clauses.collect::<Vec<_>>().join(" and ")
    }

    /// Counts up while every clause holds.
    fn backed_up(&self, consumers: &BTreeMap<ConsumerName, Reached>) -> u64 {
        let holds = |index: u64| self.0.iter().all(|clause| clause.holds(consumers, index));
        (1..).take_while(|index| holds(*index)).last().unwrap_or(0)
    }
}

impl Clause {
    fn holds(&self, consumers: &BTreeMap<ConsumerName, Reached>, index: u64) -> bool {
        let counted = consumers.iter().filter(|(name, reached)| {
            let named = self.patterns.iter().any(|pattern| matches(pattern, name.as_str()));
            let levels = Level::ALL.into_iter().filter(|level| *level >= self.level);
            let far = levels.filter_map(|level| reached.reported(level)).any(|p| p.index >= index);
            named && far
        });
        counted.count() >= self.count
    }
}

/// By trying every split at a star.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => name.is_empty(),
        Some(("*", rest)) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        Some((letter, rest)) => name.strip_prefix(letter).is_some_and(|name| matches(rest, name)),
    }
}

fn pattern() -> impl Strategy<Value = String> {
    // Few letters, so that much matches, and words that are also keywords.
    proptest::prop_oneof![
        "[ab*]{1,5}",
        select(vec!["any", "of", "at", "and", "durable", "1"]).prop_map(str::to_owned)
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let clause = (1..4usize, vec(pattern(), 1..4), arbitrary::level()).prop_map(
        |(count, patterns, level)| {
            let names: std::collections::BTreeSet<&String> = patterns.iter().collect();
            let open = patterns.iter().any(|pattern| pattern.contains('*'));
            let count = if open { count } else { count.min(names.len()) };
            Clause { count, patterns, level }
        },
    );
    vec(clause, 1..4).prop_map(Model)
}

fn consumers() -> impl Strategy<Value = BTreeMap<ConsumerName, Reached>> {
    let reached = vec((arbitrary::level(), 0..6u64), 0..4).prop_map(|said| {
        let mut reached = Reached::default();
        said.into_iter().for_each(|(level, index)| reached.set(level, at(index)));
        reached
    });
    btree_map("[ab]{1,4}".prop_map(|name| name.parse().unwrap()), reached, 0..7)
}

fn at(index: u64) -> Position {
    Position { index, digest: Digest::from_bytes([0; 32]) }
}

proptest! {
    #[test]
    fn it_says_what_brute_force_says(model in model(), consumers in consumers()) {
        let policy: Policy = model.text().parse().unwrap();
        prop_assert_eq!(policy.backed_up(&consumers), model.backed_up(&consumers), "{}", policy);
        for name in consumers.keys() {
            let named = model.0.iter().flat_map(|clause| &clause.patterns);
            let named = named.into_iter().any(|pattern| matches(pattern, name.as_str()));
            prop_assert_eq!(policy.names(name), named);
        }
    }

    #[test]
    fn its_text_comes_back(model in model(), space in select(vec![" ", "  ", "\n\t"])) {
        let policy: Policy = model.text().parse().unwrap();
        prop_assert_eq!(policy.to_string(), model.text());
        prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy.clone());
        let spaced = model.text().replace(' ', space).replace(',', " ,");
        prop_assert_eq!(spaced.parse::<Policy>().unwrap(), policy.clone());
        prop_assert_eq!(model.text().replace(", ", ",").parse::<Policy>().unwrap(), policy);
    }

    /// More receipts never make less backed up.
    #[test]
    fn progress_never_takes_away(
        model in model(),
        consumers in consumers(),
        name in "[ab]{1,4}",
        level in arbitrary::level(),
        index in 0..6u64,
    ) {
        let policy: Policy = model.text().parse().unwrap();
        let mut after = consumers.clone();
        let reached = after.entry(name.parse().unwrap()).or_default();
        let before = reached.reported(level).map_or(0, |position| position.index);
        reached.set(level, at(index.max(before)));
        assert!(policy.backed_up(&after) >= policy.backed_up(&consumers));
    }
}

fn backed_up(policy: &str, consumers: &[(&str, Level, u64)]) -> u64 {
    let mut map: BTreeMap<ConsumerName, Reached> = BTreeMap::new();
    for (name, level, index) in consumers {
        map.entry(name.parse().unwrap()).or_default().set(*level, at(*index));
    }
    policy.parse::<Policy>().unwrap().backed_up(&map)
}

#[test]
fn any_two_of_backups_and_the_archive() {
    let policy = "any 2 of backup-*, archive at durable";
    let (applied, durable, verified) = (Level::Applied, Level::Durable, Level::Verified);
    assert_eq!(backed_up(policy, &[]), 0);
    assert_eq!(backed_up(policy, &[("backup-1", durable, 9)]), 0, "one is not two");
    assert_eq!(backed_up(policy, &[("backup-1", durable, 9), ("backup-2", durable, 7)]), 7);
    assert_eq!(backed_up(policy, &[("backup-1", durable, 9), ("archive", verified, 8)]), 8);
    assert_eq!(
        backed_up(policy, &[("backup-1", durable, 9), ("backup-2", applied, 9)]),
        0,
        "applied is not durable"
    );
    assert_eq!(
        backed_up(policy, &[("backup-1", durable, 9), ("replica-1", durable, 9)]),
        0,
        "a replica is not in the pool"
    );
    let three = [("backup-1", durable, 3), ("backup-2", durable, 9), ("archive", durable, 5)];
    assert_eq!(backed_up(policy, &three), 5, "the two furthest");
}

#[test]
fn a_consumer_counts_once() {
    let durable = Level::Durable;
    let policy = "any 2 of archive, arch*, *, archive at durable";
    assert_eq!(backed_up(policy, &[("archive", durable, 9)]), 0);
    assert_eq!(
        backed_up(policy, &[("archive", durable, 9), ("archive", Level::Verified, 8)]),
        0,
        "nor once for each level"
    );
    assert_eq!(backed_up(policy, &[("archive", durable, 9), ("b", durable, 4)]), 4);
}

#[test]
fn every_clause_must_hold() {
    let policy = "any 2 of backup-* at durable and any 1 of archive at verified";
    let backups = [("backup-1", Level::Durable, 9), ("backup-2", Level::Durable, 8)];
    assert_eq!(backed_up(policy, &backups), 0);
    let with_archive = |level, index| {
        let all = [backups[0], backups[1], ("archive", level, index)];
        backed_up(policy, &all)
    };
    assert_eq!(with_archive(Level::Durable, 9), 0);
    assert_eq!(with_archive(Level::Verified, 5), 5);
    assert_eq!(with_archive(Level::Offsite, 99), 8);
}

#[test]
fn a_wrong_text_is_told_where_and_what_fits() {
    let how = "a policy reads: any 2 of backup-*, archive at durable";
    let cases = [
        ("", format!("expected `any` but found the end; {how}")),
        ("all of a", format!("expected `any` but found \"all\"; {how}")),
        ("any", format!("expected how many consumers, from 1 but found the end; {how}")),
        (
            "any two of a at durable",
            format!("expected how many consumers, from 1 but found \"two\"; {how}"),
        ),
        (
            "any 0 of a at durable",
            format!("expected how many consumers, from 1 but found \"0\"; {how}"),
        ),
        (
            "any +1 of a at durable",
            format!("expected how many consumers, from 1 but found \"+1\"; {how}"),
        ),
        (
            "any 4294967296 of * at durable",
            format!("expected how many consumers, from 1 but found \"4294967296\"; {how}"),
        ),
        ("any 1 backup at durable", format!("expected `of` but found \"backup\"; {how}")),
        ("any 1 of", format!("expected a consumer's name but found the end; {how}")),
        ("any 1 of a, at durable", format!("expected `,` or `at` but found \"durable\"; {how}")),
        ("any 1 of a,, b at durable", format!("expected a consumer's name but found \",\"; {how}")),
        ("any 1 of a b at durable", format!("expected `,` or `at` but found \"b\"; {how}")),
        ("any 1 of a at", format!("expected a level but found the end; {how}")),
        (
            "any 1 of a at durable or any",
            format!("expected `and` or the end but found \"or\"; {how}"),
        ),
        ("any 1 of a at durable and", format!("expected `any` but found the end; {how}")),
        (
            "any 1 of a at safe",
            "\"safe\" is not a level: use applied, durable, verified or offsite".to_owned(),
        ),
        (
            "any 1 of Backup at durable",
            "\"Backup\" names no consumer: use at most 32 of the characters a-z, 0-9, - and *"
                .to_owned(),
        ),
        (
            "any 2 of a at durable",
            "`any 2 of a` can never be fulfilled: it names only 1".to_owned(),
        ),
        (
            "any 3 of b, a, b at durable",
            "`any 3 of a, b` can never be fulfilled: it names only 2".to_owned(),
        ),
    ];
    for (text, message) in cases {
        assert_eq!(text.parse::<Policy>().unwrap_err().to_string(), message, "{text:?}");
    }
}
