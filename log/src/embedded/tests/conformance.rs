//! The conformance suite, on real files.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tipline_proto::LogIdentity;

use crate::conformance::Fixture;
use crate::embedded::EmbeddedLog;
use crate::embedded::sqlite::{Database, Purpose};
use crate::spec::Log;

struct OnDisk(tempfile::TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("log.db")
    }
}

#[async_trait]
impl Fixture for OnDisk {
    async fn create(&self, identity: &LogIdentity) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::create(self.path(), identity).await.unwrap())
    }

    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open(self.path()).await.unwrap())
    }

    async fn garble_receipt(&self, name: &str, bytes: Bytes) {
        let file = Database::open(&self.path(), "test", Purpose::Board).unwrap();
        file.garble_receipt(name, &bytes);
    }

    fn checks(&self) -> Vec<&'static [&'static str]> {
        let checks: [&'static [&'static str]; 4] =
            [&["journal-mode"], &["synchronous"], &["sqlite-version"], &["file-system"]];
        // It is known on Linux only.
        checks[..if cfg!(target_os = "linux") { 4 } else { 3 }].to_vec()
    }

    fn max_message(&self) -> usize {
        // There is none. A page, for what lies in one and what does not.
        4096
    }
}

crate::log_conformance!(OnDisk::new());
