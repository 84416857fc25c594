use crate::limits::MAX_HEADER_BYTES;
use crate::{Digest, Entry, Event, Headers, Position, Timestamp};

fn headers() -> Headers {
    let mut headers = Headers::default();
    headers.set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    headers.set("X-Of-Tomorrow", "a b=c").unwrap();
    headers
}

#[test]
fn what_is_set_comes_back() {
    let headers = headers();
    assert_eq!(Headers::decode(&headers.encode()), headers);
    assert_eq!(headers.get("X-Of-Tomorrow"), Some("a b=c"));
    assert_eq!(headers.get("x-of-tomorrow"), None);
    assert_eq!(Headers::decode(""), Headers::default());
    assert!(Headers::default().is_empty() && Headers::default().encode().is_empty());
}

#[test]
fn a_header_is_replaced() {
    let mut headers = headers();
    headers.set("X-Of-Tomorrow", "d").unwrap();
    assert_eq!(headers.get("X-Of-Tomorrow"), Some("d"));
    assert_eq!(headers.iter().count(), 2);
}

#[test]
fn what_is_no_header_is_refused_and_left_out() {
    let mut set = Headers::default();
    for (name, value) in [("", "v"), ("a b", "v"), ("a:", "v"), ("n", "a\nb: c"), ("n", " v")] {
        set.set(name, value).unwrap_err();
    }
    let long = "x".repeat(MAX_HEADER_BYTES);
    set.set("n", &long).unwrap_err();
    assert!(set.is_empty());
    let read = Headers::decode(&format!("n: {long}\nno header\nm: v\n"));
    assert_eq!(read.iter().collect::<Vec<_>>(), [("m", "v")]);
}

/// They are no part of the history.
#[test]
fn headers_are_outside_of_the_digest_and_of_the_bytes() {
    let origin = Position { index: 0, digest: Digest::from_bytes([0; 32]) };
    let event = Event::Marked { name: "m".parse().unwrap() };
    let plain = Entry::seal(&origin, 1, Timestamp::from_micros(1), 1, event);
    let with = Entry { headers: headers(), ..plain.clone() };
    assert!(with.follows(&origin));
    assert_eq!(with.encode(), plain.encode());
    assert_eq!(with.preimage(&origin.digest), plain.preimage(&origin.digest));
}
