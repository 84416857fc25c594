//! Copies of checkpoints elsewhere.

use tipline_store::conformance::history::History;
use tokio_util::sync::CancellationToken;

use super::{check, composite, flip, set, taken};
use crate::throttle::Throttle;
use crate::{CheckpointError, Checkpoints, Destination, Listed};

#[tokio::test]
async fn an_upload_is_read_back_and_can_be_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    let address = format!("dir:{}", directory.path().join("location").display());
    let location = Destination::open(&address).unwrap();
    let to = Checkpoints::at(location.folder("checkpoints"));
    let away = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(matches!(away, CheckpointError::Destination(_)), "{away}");
    location.prepare().await.unwrap();

    // A cancelled one leaves nothing.
    let cancel = CancellationToken::new();
    cancel.cancel();
    let cancelled = set.upload(&manifest, &to, &Throttle::new(cancel)).await.unwrap_err();
    assert!(matches!(cancelled, CheckpointError::Cancelled), "{cancelled}");
    assert_eq!(location.list("", None).await.unwrap(), []);

    // A local file that is damaged is named, and nothing is listed there.
    let file = &manifest.files[3].path;
    let path = directory.path().join("set").join(manifest.id.as_str()).join(file);
    flip(&path, 0);
    let damaged = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(damaged.to_string().contains(file.as_str()), "{damaged}");
    assert_eq!(to.list().await.unwrap(), []);
    flip(&path, 0);

    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    assert_eq!(to.list().await.unwrap(), [Listed::Whole(manifest.clone())]);
    let into = directory.path().join("fetched");
    to.fetch(&manifest, &into, &Throttle::none()).await.unwrap();
    check(&manifest, &into, &History::blocks(5, 300).entries);
}
