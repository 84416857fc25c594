//! What is at the places of backups: whether they answer, and their newest checkpoint.

use std::time::Duration;

use tipline_backup::{CheckpointError, CheckpointId, Checkpoints, Destination, DestinationError};
use tipline_log::error_chain;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Destinations do not change often.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many checkpoints are looked at for one that is whole. One that is being uploaded, or removed,
/// is not.
const LOOK_BACK: usize = 3;

/// What a place says of itself.
#[derive(Debug, Clone)]
pub struct PlaceState {
    /// Which place.
    pub place: String,
    /// What is there.
    pub found: Result<Option<NewestCheckpoint>, Unread>,
}

/// The newest checkpoint at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestCheckpoint {
    /// Everything up to this event is in it.
    pub index: u64,
    /// Its name.
    pub id: CheckpointId,
}

/// Why a place was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// It in a sentence.
    pub why: String,
    /// It answers, and refuses the credentials or what they may do.
    pub denied: bool,
}

/// Reads them now, and again each minute for as long as there is a receiver.
pub async fn follow_places(places: Vec<Destination>) -> watch::Receiver<Vec<PlaceState>> {
    let (newest, states) = watch::channel(read(&places).await);
    if !places.is_empty() {
        tokio::spawn(async move {
            while !newest.is_closed() {
                sleep(AGAIN).await;
                newest.send_replace(read(&places).await);
            }
        });
    }
    states
}

async fn read(places: &[Destination]) -> Vec<PlaceState> {
    // At once: each may have to be waited for.
    let reading: Vec<_> =
        places.iter().map(|place| tokio::spawn(read_one(place.clone()))).collect();
    let mut states = Vec::new();
    for (place, one) in places.iter().zip(reading) {
        // One that is left out would be taken for one that nobody named.
        states.push(one.await.unwrap_or_else(|_| {
            let why = format!("internal error: reading {} panicked", place.place());
            let found = Err(Unread { why, denied: false });
            PlaceState { place: place.place().to_owned(), found }
        }));
    }
    states
}

async fn read_one(destination: Destination) -> PlaceState {
    let place = destination.place().to_owned();
    let found = match timeout(PATIENCE, newest(destination)).await {
        Ok(found) => {
            found.map_err(|error| Unread { denied: is_denied(&error), why: error_chain(&error) })
        }
        Err(_) => {
            let why = format!("it has not answered for {} s", PATIENCE.as_secs());
            Err(Unread { why, denied: false })
        }
    };
    PlaceState { place, found }
}

async fn newest(destination: Destination) -> Result<Option<NewestCheckpoint>, CheckpointError> {
    let mut newest: Option<NewestCheckpoint> = None;
    // A backup location has them in a folder; a set of checkpoints may be named itself.
    for set in [destination.folder("checkpoints"), destination] {
        let found = newest_of(set).await?;
        newest = newest.into_iter().chain(found).max_by(|one, other| one.id.cmp(&other.id));
    }
    Ok(newest)
}

async fn newest_of(set: Destination) -> Result<Option<NewestCheckpoint>, CheckpointError> {
    let names = set.folders("").await?;
    let mut ids: Vec<CheckpointId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort();
    let set = Checkpoints::at(set);
    for id in ids.iter().rev().take(LOOK_BACK) {
        match set.get(id).await {
            Ok(manifest) => {
                let index = manifest.cursor.position.index;
                return Ok(Some(NewestCheckpoint { index, id: manifest.id }));
            }
            Err(CheckpointError::NotFound { .. } | CheckpointError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn is_denied(error: &CheckpointError) -> bool {
    let CheckpointError::Destination(error) = error else { return false };
    matches!(error, DestinationError::Denied { .. } | DestinationError::ClockSkew { .. })
}
