//! What the server's errors mean for the caller.

use async_nats::jetstream::{self, ErrorCode};

use crate::error::{AppendError, LogError};

pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What an error of the API means.
pub(super) fn of_api(place: &str, what: &str, error: jetstream::Error) -> LogError {
    let place = place.to_owned();
    let code = error.error_code();
    let fixed = match code {
        ErrorCode::STREAM_NOT_FOUND => {
            let hint = "check the name of the log, or run `tipline init` if it was never made";
            return LogError::NotFound { place, hint: hint.into() };
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            Some("JetStream is not enabled there; enable it for the server and the account")
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            Some("a single server cannot keep several replicas; ask for one, or make a cluster")
        }
        ErrorCode::STREAM_INVALID_CONFIG => Some("the server refuses the stream's settings"),
        _ => None,
    };
    match fixed {
        Some(why) => LogError::Unusable { place, why: why.into(), source: Some(Box::new(error)) },
        None if passes(&error) => {
            LogError::Unavailable { place, what: what.into(), source: Some(Box::new(error)) }
        }
        None => LogError::Unusable {
            place,
            why: format!("the server refuses to {what}"),
            source: Some(Box::new(error)),
        },
    }
}

/// What an error in the place of an acknowledgement means. One that is an answer to
/// contents is for good; one about the state of the server or the stream passes, at times
/// only after somebody freed space.
pub(super) fn of_append(place: &str, error: jetstream::Error) -> AppendError {
    match error.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            AppendError::Conflict
        }
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH => {
            AppendError::Doubt(for_now(place, error))
        }
        _ if passes(&error) => AppendError::Doubt(for_now(place, error)),
        ErrorCode::ATOMIC_PUBLISH_DISABLED => AppendError::Refused(LogError::Unusable {
            place: place.to_owned(),
            why: "the stream does not allow atomic publishing: somebody changed its settings"
                .into(),
            source: Some(Box::new(error)),
        }),
        ErrorCode::ATOMIC_PUBLISH_TOO_LARGE_BATCH => AppendError::Refused(LogError::Unusable {
            place: place.to_owned(),
            why: "the server allows smaller batches only; set its max_batch_size to 1000".into(),
            source: Some(Box::new(error)),
        }),
        _ => AppendError::Refused(LogError::Unusable {
            place: place.to_owned(),
            why: "the server refuses the message".into(),
            source: Some(Box::new(error)),
        }),
    }
}

fn for_now(place: &str, error: jetstream::Error) -> LogError {
    LogError::Unavailable {
        place: place.to_owned(),
        what: "append".into(),
        source: Some(Box::new(error)),
    }
}

/// 408, 409 and 429: later. 5xx: the server's trouble, not the caller's.
fn passes(error: &jetstream::Error) -> bool {
    matches!(error.code(), 408 | 409 | 429 | 500..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: usize, err_code: u64) -> jetstream::Error {
        let text = format!(r#"{{"code":{code},"err_code":{err_code},"description":"d"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn appends_are_told_apart() {
        for code in [(400, 10071), (400, 10164)] {
            assert!(matches!(of_append("p", error(code.0, code.1)), AppendError::Conflict));
        }
        let later = [(503, 10077), (429, 10167), (409, 10158), (429, 10210), (400, 10176)];
        for code in later.into_iter().chain([(400, 10002), (503, 10023), (500, 10047)]) {
            let AppendError::Doubt(inner) = of_append("p", error(code.0, code.1)) else {
                panic!("{code:?} is not a doubt")
            };
            assert!(inner.is_retryable());
        }
        for code in [(400, 10054), (400, 10109), (400, 10174), (400, 10199), (400, 10060)] {
            assert!(matches!(of_append("p", error(code.0, code.1)), AppendError::Refused(_)));
        }
    }

    #[test]
    fn an_append_says_why_the_server_does_not_take_it() {
        let reasons = [
            (503, 10077, "maximum bytes exceeded"),
            (500, 10047, "insufficient storage resources available"),
            (400, 10054, "message size exceeds maximum allowed"),
        ];
        for (code, err_code, why) in reasons {
            let text = format!(r#"{{"code":{code},"err_code":{err_code},"description":"{why}"}}"#);
            let error = of_append("p", serde_json::from_str(&text).unwrap());
            let (AppendError::Doubt(inner) | AppendError::Refused(inner)) = error else {
                panic!("{why} is not a conflict")
            };
            let told = crate::error::error_chain(&inner);
            assert!(told.contains(why) && told.contains(&err_code.to_string()), "{told}");
        }
    }

    #[test]
    fn a_missing_stream_is_not_found() {
        assert!(matches!(of_api("p", "w", error(404, 10059)), LogError::NotFound { .. }));
        assert!(matches!(of_api("p", "w", error(500, 10074)), LogError::Unusable { .. }));
        assert!(of_api("p", "w", error(503, 10008)).is_retryable());
        assert!(!of_api("p", "w", error(400, 10003)).is_retryable());
    }
}
