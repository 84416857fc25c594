//! What fuzzing reaches here.

use super::id::CheckpointId;
use super::manifest::Manifest;
pub(crate) use super::manifest::seal as seal_manifest;

/// Reads a manifest by the name that it gives itself.
pub(crate) fn read_manifest(text: &str) -> Result<Manifest, String> {
    let named = serde_json::from_str::<serde_json::Value>(text).map_err(|e| e.to_string())?;
    let id = named["id"].as_str().unwrap_or_default();
    let id: CheckpointId = id.parse().map_err(|e| format!("{e}"))?;
    Manifest::from_text(&id, text.as_bytes())
}

pub(crate) fn write_manifest(manifest: &Manifest) -> Result<String, String> {
    manifest.to_text().map_err(|e| e.to_string())
}
