//! What was found, as text and as JSON.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tipline_backup::{TimeDigits, time_text};
use tipline_ops::text::number;
use tipline_proto::{Cursor, Key, Timestamp};
use tipline_store::{StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction};

use crate::output::escape::line;

/// Fields in their order, and the bytes if there are some.
pub(super) struct Item {
    pub(super) title: String,
    fields: Vec<(&'static str, Value)>,
    pub(super) payload: Option<Bytes>,
}

impl Item {
    fn new(title: String, fields: Vec<(&'static str, Value)>) -> Self {
        Self { title, fields, payload: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push((name, value));
        self
    }

    fn of(self, payload: &Bytes) -> Self {
        let digest = blake3::hash(payload).to_hex().to_string();
        let found = self.with("bytes", payload.len().into()).with("blake3", digest.into());
        Self { payload: Some(payload.clone()), ..found }
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let fields = self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// A title, and a line for each field.
    pub(super) fn text(&self) -> String {
        let mut text = line(format_args!("{}", self.title));
        for (name, value) in &self.fields {
            let value = match value {
                Value::Null => "–".to_owned(),
                Value::Bool(true) => "yes".to_owned(),
                Value::Bool(false) => "no".to_owned(),
                Value::String(value) => value.clone(),
                Value::Number(value) => value.as_u64().map_or(value.to_string(), number),
                other => other.to_string(),
            };
            text.push_str(&line(format_args!("  {:<14} {value}", name.replace('_', " "))));
        }
        text
    }
}

pub(super) fn block(block: &StoredBlock) -> Item {
    let StoredBlock { height, hash, parent_hash, index, epoch, time, payload } = block;
    let fields = vec![
        ("height", json!(height)),
        ("hash", hash.to_string().into()),
        ("parent_hash", parent_hash.to_string().into()),
        ("index", json!(index)),
        ("epoch", json!(epoch)),
        ("committed", committed(*time)),
    ];
    Item::new(format!("block {height}"), fields).of(payload)
}

pub(super) fn proof(proof: &StoredProof) -> Item {
    let StoredProof { height, block_hash, index, time, payload } = proof;
    let fields = vec![
        ("height", json!(height)),
        ("block_hash", block_hash.to_string().into()),
        ("index", json!(index)),
        ("committed", committed(*time)),
    ];
    Item::new(format!("proof of block {height}"), fields).of(payload)
}

pub(super) fn transaction(transaction: &StoredTransaction) -> Item {
    let StoredTransaction { id, block_tip, index, time, payload } = transaction;
    let fields = vec![
        ("id", id.to_string().into()),
        ("block_tip", json!(block_tip)),
        ("index", json!(index)),
        ("committed", committed(*time)),
    ];
    Item::new(format!("transaction {id}"), fields).of(payload)
}

pub(super) fn record(record: &StoredRecord) -> Item {
    let StoredRecord { key, index, time, value } = record;
    let name = readable(key);
    let fields = vec![
        ("key", name.clone().into()),
        ("index", json!(index)),
        ("committed", committed(*time)),
    ];
    let found = Item::new(format!("record {name}"), fields).of(value);
    match std::str::from_utf8(value) {
        // Most records are small texts, and then that is what is asked for.
        Ok(text) if text.len() <= 200 && !text.contains(char::is_control) => {
            found.with("value", text.into())
        }
        _ => found,
    }
}

pub(super) fn mark(mark: &StoredMark) -> Item {
    let StoredMark { name, index, block_tip, time } = mark;
    let fields = vec![
        ("name", name.as_str().into()),
        ("block_tip", json!(block_tip)),
        ("index", json!(index)),
        ("committed", committed(*time)),
    ];
    Item::new(format!("mark {}", name.as_str()), fields)
}

pub(super) fn cursor(place: &str, cursor: &Cursor, lowest: Option<u64>) -> Item {
    let tip = cursor.block_tip.as_ref();
    let fields = vec![
        ("index", json!(cursor.position.index)),
        ("digest", cursor.position.digest.to_string().into()),
        ("epoch", json!(cursor.epoch)),
        ("lowest_block", json!(lowest)),
        ("block_tip", json!(tip.map(|tip| tip.height))),
        ("block_tip_hash", json!(tip.map(|tip| tip.hash.to_string()))),
        ("proof_tip", json!(cursor.proof_tip)),
        ("proof_debt", json!(cursor.proof_debt())),
    ];
    Item::new(format!("cursor of {place}"), fields)
}

fn committed(time: Timestamp) -> Value {
    time_text(time, TimeDigits::Micros).into()
}

/// A key as it is typed.
pub(super) fn readable(key: &Key) -> String {
    match std::str::from_utf8(key.as_ref()) {
        Ok(text) if !text.contains(char::is_control) && !text.starts_with("0x") => text.to_owned(),
        _ => format!("0x{key}"),
    }
}
