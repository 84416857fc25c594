//! The consumers of the demo.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use tipline_consumer::{Consumer, ConsumerSettings, Phase};
use tipline_log::{Log, error_chain, system_clock};
use tipline_proto::{InstanceId, Role};
use tipline_store::{Store, StoreError, StoreReader};
use tokio::runtime::{Builder, Runtime};

use crate::address::StoreAddress;
use crate::open::store;
use crate::output::report::{Failure, Sentence};

/// Everyone who follows the log: name, role, and in which medium. And the one that is killed.
pub(super) const FLEET: [(&str, Role, &str); 3] = [
    ("replica-1", Role::Replica, "sqlite"),
    ("replica-2", Role::Replica, "files"),
    ("backup-1", Role::Backup, "sqlite"),
];
pub(super) const VICTIM: &str = "replica-2";

/// A killed consumer lets go of its store as soon as its thread has noticed.
const LET_GO: Duration = Duration::from_secs(10);

/// One consumer and its store.
pub(super) struct Follower {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) medium: &'static str,
    store: StoreAddress,
    running: Option<Running>,
}

/// A runtime of its own, so that it can be killed as a process can: at any instant, with
/// nothing said to anyone.
struct Running {
    consumer: Consumer,
    runtime: Runtime,
}

impl Follower {
    /// A follower whose store is in this directory.
    ///
    /// # Errors
    /// The medium is none that there is.
    pub(super) fn new(
        (name, role, medium): (&'static str, Role, &'static str),
        dir: &Path,
    ) -> Result<Self, Failure> {
        let file = if medium == "sqlite" { format!("{name}.db") } else { name.to_owned() };
        let store = format!("{medium}:{}", dir.join(file).display()).parse()?;
        Ok(Self { name, role, medium, store, running: None })
    }

    pub(super) async fn start(&mut self, log: &Arc<dyn Log>) -> Result<(), Failure> {
        let store = self.open().await?;
        let settings = ConsumerSettings::new(self.name.parse()?, self.role);
        let instance = InstanceId::from_bytes(rand::rng().random());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let consumer = {
            let _inside = runtime.enter();
            Consumer::start(Arc::clone(log), store, settings, instance, system_clock())
        };
        self.running = Some(Running { consumer, runtime });
        Ok(())
    }

    async fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        let deadline = Instant::now() + LET_GO;
        loop {
            match store::open(&self.store) {
                Err(StoreError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Whether it still follows, if it runs.
    ///
    /// # Errors
    /// Why it stopped for good.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let phase = self.running.as_ref().map(|r| r.consumer.progress().borrow().phase.clone());
        match phase {
            Some(Phase::Failed(error)) => {
                let what = format!("{} stopped: {}", self.name, error_chain(&*error));
                Err(Sentence(what).into())
            }
            _ => Ok(()),
        }
    }

    /// Ends it where it is.
    pub(super) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }

    /// Ends it in an orderly way.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(Running { consumer, runtime }) = self.running.take() {
            let ended = consumer.shutdown().await;
            runtime.shutdown_background();
            ended?;
        }
        Ok(())
    }

    /// Reads its store, after it has ended.
    pub(super) async fn read(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.open().await?.reader()
    }
}

/// A runtime must not be dropped inside of another one: it would wait there.
impl Drop for Follower {
    fn drop(&mut self) {
        self.kill();
    }
}
