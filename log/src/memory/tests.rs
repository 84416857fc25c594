//! The log in memory keeps the promises, and breaks them as asked.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tipline_proto::LogIdentity;

use super::{MAX_MESSAGE_BYTES, MemoryLog};
use crate::conformance::Fixture;
use crate::spec::Log;

#[derive(Default)]
struct Memory(Mutex<Option<MemoryLog>>);

#[async_trait]
impl Fixture for Memory {
    async fn create(&self, identity: &LogIdentity) -> Arc<dyn Log> {
        Arc::new(self.0.lock().unwrap().insert(MemoryLog::new(identity.clone())).clone())
    }

    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(self.0.lock().unwrap().clone().unwrap())
    }

    fn max_message(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

crate::log_conformance!(Memory::default());
