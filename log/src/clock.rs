//! The one place where the wall clock comes in.

use std::sync::Arc;
use std::time::SystemTime;

use tipline_proto::Timestamp;

/// A clock, as an argument: tests and simulation bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    Arc::new(|| Timestamp::from(SystemTime::now()))
}
