//! Checkpoints as they are printed. The JSON is documented by `--json`'s users: keep stable.

use std::collections::BTreeSet;

use indicatif::HumanBytes;
use serde_json::{Value, json};
use tipline_backup::{CheckpointId, CheckpointRetention, Listed, Manifest, TimeDigits, time_text};
use tipline_ops::text::{count, number};
use tipline_proto::Timestamp;

use crate::output::escape;

/// All of a set.
pub(crate) fn list(
    place: &str,
    listed: &[Listed],
    kept: &BTreeSet<CheckpointId>,
    json: bool,
) -> String {
    if json {
        let value = |listed: &Listed| {
            let mut value = listed_value(listed);
            value["kept"] = kept.contains(listed.id()).into();
            value
        };
        let checkpoints: Vec<Value> = listed.iter().map(value).collect();
        return format!("{}\n", json!({ "place": place, "checkpoints": checkpoints }));
    }
    if listed.is_empty() {
        return escape::line(format_args!("{place} has no checkpoints"));
    }
    let line = |listed: &Listed| {
        let kept = if kept.contains(listed.id()) { "  kept" } else { "" };
        escape::line(format_args!("{}{kept}", line(listed)))
    };
    listed.iter().map(line).collect()
}

/// What becomes of each.
pub(crate) fn expired(
    judged: &[(Listed, CheckpointRetention)],
    removed: bool,
    json: bool,
) -> String {
    let word = |fate: &CheckpointRetention| match fate {
        CheckpointRetention::Pinned => "kept",
        CheckpointRetention::Last => "one of the newest",
        CheckpointRetention::Unvouched => "nobody vouches for it",
        CheckpointRetention::Within => "young",
        CheckpointRetention::LastGood => "no newer one is whole",
        CheckpointRetention::Expired if removed => "removed",
        _ => "expired",
    };
    if json {
        let value = |(listed, fate): &(Listed, CheckpointRetention)| {
            let mut value = listed_value(listed);
            value["fate"] = word(fate).into();
            value
        };
        let checkpoints: Vec<Value> = judged.iter().map(value).collect();
        return format!("{}\n", json!({ "removed": removed, "checkpoints": checkpoints }));
    }
    let line = |(listed, fate): &(Listed, CheckpointRetention)| {
        escape::line(format_args!("{}  {}", line(listed), word(fate)))
    };
    judged.iter().map(line).collect()
}

/// One that was just made.
pub(crate) fn made(place: &str, manifest: &Manifest, json: bool) -> String {
    if json {
        return format!("{}\n", value(place, manifest));
    }
    escape::line(format_args!(
        "made {} at {place}: {}, {}",
        manifest.id,
        point(manifest),
        count(manifest.bytes(), "byte")
    ))
}

/// Everything about one.
pub(crate) fn one(
    place: &str,
    manifest: &Manifest,
    kept: bool,
    verified: bool,
    json: bool,
) -> String {
    if json {
        let mut value = value(place, manifest);
        value["kept"] = kept.into();
        value["verified"] = verified.into();
        let file = |file: &tipline_backup::ManifestFile| json!({ "path": file.path, "bytes": file.bytes, "blake3": file.blake3.to_string() });
        value["files"] = manifest.files.iter().map(file).collect();
        return format!("{value}\n");
    }
    let mut text = String::new();
    let mut row =
        |name: &str, value: &str| text += &escape::line(format_args!("{name:<12}{value}"));
    row("checkpoint", &manifest.id.to_string());
    row("place", place);
    row("made", &time(manifest.created));
    row("chain", manifest.log.chain.name.as_str());
    row("lineage", &manifest.log.lineage.to_string());
    row("position", &manifest.cursor.position.to_string());
    if let Some(tip) = &manifest.cursor.block_tip {
        row("block", &format!("{} {}", number(tip.height), tip.hash));
    }
    if let Some(proof) = manifest.cursor.proof_tip {
        row("proven to", &number(proof));
    }
    row("parts", &manifest.parts.join(" + "));
    for (name, version) in &manifest.versions {
        row(name, version);
    }
    let files = count(manifest.files.len() as u64, "file");
    row("size", &format!("{} in {files}", count(manifest.bytes(), "byte")));
    row("kept", if kept { "yes" } else { "no" });
    row("verified", if verified { "every byte is what was written" } else { "not now: --verify" });
    text
}

/// One that is being made.
pub(crate) fn progress(doing: &str, moved: u64, total: u64) -> String {
    match total {
        0 => doing.to_owned(),
        _ => format!("{doing} · {} of {}", HumanBytes(moved.min(total)), HumanBytes(total)),
    }
}

fn line(listed: &Listed) -> String {
    match listed {
        Listed::Whole(manifest) => format!(
            "{}  {}  {}  {}",
            manifest.id,
            time(manifest.created),
            point(manifest),
            count(manifest.bytes(), "byte")
        ),
        Listed::Corrupt { id, why } => format!("{id}  corrupt: {why}"),
    }
}

fn point(manifest: &Manifest) -> String {
    let index = number(manifest.cursor.position.index);
    match &manifest.cursor.block_tip {
        Some(tip) => format!("entry {index}, block {}", number(tip.height)),
        None => format!("entry {index}, no block"),
    }
}

fn listed_value(listed: &Listed) -> Value {
    match listed {
        Listed::Whole(manifest) => summary(manifest),
        Listed::Corrupt { id, why } => json!({ "id": id.to_string(), "whole": false, "why": why }),
    }
}

fn value(place: &str, manifest: &Manifest) -> Value {
    let mut value = summary(manifest);
    value["place"] = place.into();
    value
}

fn summary(manifest: &Manifest) -> Value {
    let cursor = &manifest.cursor;
    json!({
        "id": manifest.id.to_string(),
        "whole": true,
        "created": time(manifest.created),
        "chain": manifest.log.chain.name.to_string(),
        "lineage": manifest.log.lineage.to_string(),
        "index": cursor.position.index,
        "digest": cursor.position.digest.to_string(),
        "epoch": cursor.epoch,
        "block": cursor.block_tip.as_ref().map(|tip| tip.height),
        "block_hash": cursor.block_tip.as_ref().map(|tip| tip.hash.to_string()),
        "proven": cursor.proof_tip,
        "parts": manifest.parts,
        "versions": manifest.versions,
        "bytes": manifest.bytes(),
    })
}

fn time(time: Timestamp) -> String {
    time_text(time, TimeDigits::Seconds)
}
