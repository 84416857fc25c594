//! The triggers accept and refuse exactly what the contract's `Links` does, whoever writes.

use proptest::prelude::*;
use rusqlite::{Connection, params};
use tipline_proto::limits::MAX_PROOF_RANGES;
use tipline_proto::{Event, LinkError};

use super::super::row::from_i64;
use super::Node;
use crate::outbox::OutboxError;
use crate::outbox::conformance::{self, Subject, block, proof, rollback};
use crate::outbox::tests::histories::{Model, WINDOW, proven, tries};
use crate::outbox::tests::room;

/// What a node in another language does.
fn insert(conn: &Connection, event: &Event) -> rusqlite::Result<usize> {
    match event {
        Event::BlockCommitted { height, hash, parent_hash, payload } => conn.execute(
            "INSERT INTO tipline_outbox (kind, height, hash, parent_hash, payload)
             VALUES ('block_committed', ?1, ?2, ?3, ?4)",
            params![*height as i64, hash.as_ref(), parent_hash.as_ref(), payload.as_ref()],
        ),
        Event::BlockProven { height, block_hash, payload } => conn.execute(
            "INSERT OR IGNORE INTO tipline_outbox (kind, height, hash, payload)
             VALUES ('block_proven', ?1, ?2, ?3)",
            params![*height as i64, block_hash.as_ref(), payload.as_ref()],
        ),
        Event::RolledBack { to_height, to_hash } => conn.execute(
            "INSERT OR REPLACE INTO tipline_outbox (kind, height, hash)
             VALUES ('rolled_back', ?1, ?2)",
            params![*to_height as i64, to_hash.as_ref()],
        ),
        other => panic!("{other} is not among the random ones"),
    }
}

fn runs(conn: &Connection) -> Vec<(u64, u64)> {
    let mut statement = conn.prepare("SELECT first, last FROM tipline_proven ORDER BY 1").unwrap();
    let run = |row: &rusqlite::Row<'_>| Ok((from_i64(row.get(0)?), from_i64(row.get(1)?)));
    statement.query_map([], run).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn triggers_follow_the_rule_of_what_fits(steps in room::steps()) {
        room::follows_the_rule(&mut Node::new(), &steps);
    }

    /// Each transaction tries some events, and commits or does not.
    #[test]
    fn triggers_accept_what_links_accepts(
        transactions in prop::collection::vec((tries(), prop::bool::weighted(0.8)), 1..12),
        raw in any::<bool>(),
    ) {
        let mut node = Node::new();
        node.conn.execute("UPDATE tipline_outbox_state SET window = ?1", [WINDOW as i64]).unwrap();
        let mut model = Model::default();
        let mut accepted = Vec::new();
        for (tries, commits) in &transactions {
            let tx = node.conn.transaction().unwrap();
            let mut tried = model.clone();
            let mut events = Vec::new();
            for given in tries {
                let event = given.event(&tried.links);
                let admits = tried.admits(&event);
                if raw {
                    let inserted = insert(&tx, &event);
                    prop_assert_eq!(inserted.is_ok(), admits, "{} gave {:?}", event, inserted);
                } else {
                    match node.table.enqueue(&tx, &event) {
                        Ok(_) => prop_assert!(admits, "{} was enqueued", event),
                        Err(OutboxError::DoesNotLink { .. }) => prop_assert!(!admits, "{} was refused", event),
                        Err(other) => prop_assert!(false, "{event} gave {other:?}"),
                    }
                }
                events.extend(admits.then_some(event));
            }
            if *commits {
                tx.commit().unwrap();
                model = tried;
                accepted.extend(events);
            }
        }
        conformance::gives(node.outbox(), &accepted);
        let known = node.conn.query_row("SELECT count(*) FROM tipline_block", [], |row| row.get(0));
        prop_assert_eq!(known, Ok(model.blocks.len() as i64), "nothing is remembered for ever");
        prop_assert_eq!(runs(&node.conn), proven(&accepted), "what is proven");
    }
}

/// Whoever applies the events must remember the proofs that nothing joins: what they would refuse is
/// refused here, to anyone who writes, and does not reach the log.
#[test]
fn more_proofs_that_nothing_joins_than_can_be_remembered_are_refused() {
    let mut node = Node::new();
    let base = 4 * MAX_PROOF_RANGES as u64;
    for height in 0..6 {
        Subject::enqueue(&mut node, &block(base + height, 0, 0)).unwrap();
    }
    // As if every second block so far had its proof. One more run fits.
    let pairs = MAX_PROOF_RANGES as i64 - 1;
    node.conn
        .execute_batch(&format!(
            "UPDATE tipline_proven SET last = 0;
             WITH RECURSIVE run(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM run WHERE n < {pairs})
             INSERT INTO tipline_proven (first, last) SELECT 2 * n, 2 * n FROM run;"
        ))
        .unwrap();
    Subject::enqueue(&mut node, &proof(base + 1, 0)).unwrap();
    let refused = insert(&node.conn, &proof(base + 3, 0)).unwrap_err();
    assert!(refused.to_string().contains("prove a block beside one that is"), "{refused}");
    match Subject::enqueue(&mut node, &proof(base + 3, 0)).unwrap_err() {
        OutboxError::DoesNotLink { source, .. } => {
            let LinkError::TooManyGaps { height, lowest } = *source else { panic!("{source:?}") };
            assert_eq!((height, lowest), (base + 3, 1));
        }
        other => panic!("{other:?}"),
    }
    // Beside one that is there, and instead of one.
    Subject::enqueue(&mut node, &proof(base + 2, 0)).unwrap();
    Subject::enqueue(&mut node, &rollback(base, 0)).unwrap();
    Subject::enqueue(&mut node, &proof(base, 0)).unwrap();
    assert_eq!(runs(&node.conn).len(), MAX_PROOF_RANGES + 1);
}

#[test]
fn every_malformed_row_is_refused_and_says_why() {
    let mut node = Node::new();
    node.enqueue(&block(1, 0, 0)).unwrap();
    let long = format!("(kind, name) VALUES ('marked', '{}')", "n".repeat(257));
    let rows = [
        ("(kind) VALUES ('epoch_started')", "no such kind of event"),
        ("(kind) VALUES (NULL)", "no such kind of event"),
        ("(kind, height) VALUES ('marked', 1)", "has no height"),
        ("(kind, height) VALUES ('block_proven', -1)", "height must be"),
        ("(kind, height) VALUES ('block_proven', 'one')", "height must be"),
        ("(kind, height) VALUES ('block_proven', NULL)", "height must be"),
        ("(kind, height, hash, payload) VALUES ('block_proven', 1, 'text', x'')", "hash must be"),
        ("(kind, height, hash, payload) VALUES ('block_proven', 1, x'', x'')", "hash must be"),
        (
            "(kind, height, hash, payload) VALUES ('block_proven', 1, x'aa', NULL)",
            "payload is NULL",
        ),
        ("(kind, height, hash, payload) VALUES ('block_proven', 1, x'aa', 't')", "must be a blob"),
        (
            "(kind, height, hash, payload) VALUES ('block_proven', 1, x'aa', x'')",
            "not in the chain",
        ),
        (
            "(kind, height, hash, parent_hash) VALUES ('block_proven', 1, x'aa', x'aa')",
            "parent_hash",
        ),
        ("(kind, height, hash, payload) VALUES ('rolled_back', 0, x'aa', x'')", "has no payload"),
        ("(kind, key, payload) VALUES ('state_recorded', 'text', x'')", "key must be"),
        ("(kind, key, name) VALUES ('state_recorded', x'aa', 'name')", "only a mark"),
        ("(kind, key, hash) VALUES ('state_recorded', x'aa', x'aa')", "has no hash"),
        ("(kind, hash, payload_ref) VALUES ('transaction_validated', x'aa', 'r')", "payload_hash"),
        (
            "(kind, hash, payload, payload_length) VALUES ('transaction_validated', x'aa', x'', 1)",
            "payload_ref refers",
        ),
        ("(kind, name) VALUES ('marked', '')", "name must be"),
        (&long, "name must be"),
        ("(kind, name) VALUES ('marked', 'a' || char(10))", "name must be"),
        ("(kind, name) VALUES ('marked', 'a' || char(133))", "name must be"),
        ("(kind, name) VALUES ('marked', 'a' || char(0))", "name must be"),
        ("(kind, name, time_us) VALUES ('marked', 'a', 'now')", "time_us"),
        ("(kind, name, sequence) VALUES ('marked', 'a', 1)", "numbers its rows itself"),
        ("(kind, name, sequence) VALUES ('marked', 'a', 3)", "numbers its rows itself"),
        (
            "(kind, hash, payload) VALUES ('transaction_validated', x'aa', zeroblob(67108865))",
            "64 MiB",
        ),
    ];
    for (row, why) in rows {
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            let refused = node.conn.execute(&format!("{verb} INTO tipline_outbox {row}"), []);
            let message = refused.expect_err(row).to_string();
            assert!(message.starts_with("tipline: ") && message.contains(why), "{row}: {message}");
        }
    }
    conformance::gives(node.outbox(), &[block(1, 0, 0)]);
    assert_eq!(node.enqueue(&block(2, 0, 0)).unwrap(), 2, "no number was lost");
}

#[test]
fn rows_that_wait_are_neither_changed_nor_deleted() {
    let mut node = Node::new();
    conformance::fill(&mut node, &[1, 2].map(|height| block(height, 0, 0)));
    for forbidden in [
        "DELETE FROM tipline_outbox",
        "DELETE FROM tipline_outbox WHERE sequence = 1",
        "UPDATE tipline_outbox SET hash = x'aa'",
        "UPDATE tipline_outbox SET payload = x'aa'",
        "UPDATE tipline_outbox SET sequence = 9 WHERE sequence = 2",
    ] {
        let message = node.conn.execute(forbidden, []).expect_err(forbidden).to_string();
        assert!(message.starts_with("tipline: rows of the outbox"), "{forbidden}: {message}");
    }
    conformance::gives(node.outbox(), &[block(1, 0, 0), block(2, 0, 0)]);
}
