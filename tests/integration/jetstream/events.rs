//! Events of every size, at their places.

use std::sync::Arc;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{Appender, LogError, Reader, Tail, Trimmer};
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::subject::{Subject, events_stream};
use tipline_proto::{Entry, Kind};

use super::{Writer, claim, name, next, options, raw, read_all, seal, sized, started};

#[tokio::test]
async fn events_of_every_size_come_back() {
    let (server, log) = started().await;
    let log = Arc::new(log);
    let mut writer = Writer::claim(log.clone()).await;
    writer.write([sized(0)]).await;
    writer.write([sized(1 << 20)]).await;
    writer.write((0..MAX_UNIT_MESSAGES).map(|_| sized(100))).await;
    writer.write([sized(10), sized(3 << 20), sized(10), sized(5 << 20)]).await;
    let before = writer.tail.fence;
    writer.write([sized(MAX_PAYLOAD_BYTES)]).await;
    let messages = writer.tail.fence - before;
    assert!(messages > 64, "{messages}");
    writer.write([sized(7)]).await;

    assert_eq!(log.tail().await.unwrap(), writer.tail);
    let read = read_all(&log, writer.tail.position.index).await;
    assert!(read == writer.written);
    for index in [1, 2, 3, 4, 500, 1003, 1004, 1005, 1006, 1007, 1008, 1009] {
        let entry = log.entry(index).await.unwrap();
        assert!(entry == writer.written[index as usize - 1], "entry {index}");
    }
    let beyond = log.entry(1010).await.unwrap_err();
    assert!(
        matches!(beyond, LogError::OutOfRange { asked: 1010, first: 1, last: 1009 }),
        "{beyond}"
    );
    // Another handle reads the same tail, a large event being the newest or not.
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    writer.write([sized(2 << 20)]).await;
    assert_eq!(other.tail().await.unwrap(), writer.tail);
}

#[tokio::test]
async fn a_trimmed_log_says_what_it_holds() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    for _ in 0..10 {
        writer.write([sized(10)]).await;
        writer.write([sized(2 << 20)]).await;
    }
    writer.log.trim(2).await.unwrap();
    let js = raw(&server.url()).await;
    let stream = js.get_stream(events_stream(&name())).await.unwrap();
    // Entry 3 is of three messages, from the third on: one of them is left, and is not an entry.
    let first = stream.cached_info().config.first_sequence.unwrap();
    stream.purge().sequence(first + 4).await.unwrap();
    let extent = writer.log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last), (4, 21));
    for index in 4..=21 {
        assert!(writer.log.entry(index).await.unwrap() == writer.written[index as usize - 1]);
    }
    for index in [0, 1, 3, 22] {
        let error = writer.log.entry(index).await.unwrap_err();
        assert!(matches!(error, LogError::OutOfRange { first: 4, last: 21, .. }), "{error:?}");
    }
    let error = writer.log.subscribe(None, 2).await.err().unwrap();
    assert!(matches!(error, LogError::OutOfRange { asked: 3, first: 4, .. }), "{error:?}");
    let mut subscription = writer.log.subscribe(None, 3).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap()[0], writer.written[3]);
    assert_eq!(writer.log.tail().await.unwrap(), writer.tail);
}

#[tokio::test]
async fn a_void_entry_is_not_an_entry() {
    let (server, log) = started().await;
    let mut old = Writer::claim(Arc::new(log)).await;
    old.write([sized(1)]).await;
    // What an old primary without a fence could do: its entries land behind the new claim.
    let voids = seal(&old.tail, old.epoch, (0..3).map(|_| sized(99)));
    let mut new = Writer::claim(old.log.clone()).await;
    let js = raw(&server.url()).await;
    for void in &voids {
        let subject = Subject::Event(name(), Kind::StateRecorded).to_string();
        js.publish(subject, void.encode()).await.unwrap().await.unwrap();
    }

    // The tail is what readers take for it, and the next append comes after what is void.
    let tail = new.log.tail().await.unwrap();
    let fence = new.tail.fence + voids.len() as u64;
    assert_eq!(tail, Tail { fence, ..new.tail.clone() });
    new.tail = tail;
    for _ in 0..5 {
        new.write([sized(2)]).await;
    }
    let newest = Writer::claim(new.log.clone()).await;
    let valid: Vec<&Entry> =
        old.written.iter().chain(&new.written).chain(&newest.written).collect();
    for entry in valid {
        assert!(&new.log.entry(entry.index).await.unwrap() == entry, "entry {}", entry.index);
    }
}

/// The claims of two epochs were lost after somebody had seen them, so their numbers are left out.
#[tokio::test]
async fn what_is_void_is_so_among_epochs_that_are_left_out() {
    let (server, log) = started().await;
    let mut old = Writer::claim(Arc::new(log)).await;
    old.write([sized(1), sized(3 << 20), sized(2)]).await;
    let void = seal(&old.tail, old.epoch, [sized(99)]).remove(0);
    let js = raw(&server.url()).await;
    let subject = Subject::Event(name(), Kind::StateRecorded).to_string();
    let write_void = async || {
        js.publish(subject.clone(), void.encode()).await.unwrap().await.unwrap();
    };
    let (log, mut written) = (old.log, old.written);
    let mut tail = old.tail;
    // Void entries after the claim alone, before the next claim, and between entries.
    let epochs: [(u64, &[usize]); 4] = [(3, &[]), (6, &[7]), (7, &[8, 3 << 20]), (10, &[9])];
    for (epoch, lengths) in epochs {
        for events in [vec![claim()], lengths.iter().map(|length| sized(*length)).collect()] {
            let unit = seal(&tail, epoch, events);
            if unit.is_empty() {
                continue;
            }
            log.append(&tail, &unit).await.unwrap();
            written.extend(unit);
            write_void().await;
            write_void().await;
            tail = log.tail().await.unwrap();
            assert_eq!(tail.position, written[written.len() - 1].position());
        }
    }
    for entry in &written {
        assert!(&log.entry(entry.index).await.unwrap() == entry, "entry {}", entry.index);
    }
}
