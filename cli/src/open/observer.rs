//! Reading a log that may not answer, for the verdict.

use std::future::Future;
use std::time::Duration;

use tipline_log::LogError;
use tipline_ops::Observer;

use crate::open::log::LogLocation;
use crate::output::report::{Failure, Sentence};

/// How long the log may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the log, to read it again and again.
pub(crate) async fn open(place: &LogLocation) -> Result<Observer, LogError> {
    Observer::new(place.address(), place.open().await?).await
}

/// Gives up on a log that does not answer.
pub(crate) async fn within<T>(
    place: &LogLocation,
    reading: impl Future<Output = Result<T, LogError>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => Ok(read?),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            let text = format!("the log at {} has not answered for {seconds} s", place.address());
            Err(Sentence(text).into())
        }
    }
}
