//! Any text, read as everything that has a text form: no panic, and what is read is stable.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tipline_proto::subject::{Part, Subject};
use tipline_proto::{
    ChainName, ConsumerName, Digest, Hash, InstanceId, Key, Label, Level, Lineage, LogName,
    OutboxId, Policy, TransactionId,
};

fuzz_target!(|text: &str| {
    stable::<Policy>(text);
    stable::<Level>(text);
    stable::<LogName>(text);
    stable::<ConsumerName>(text);
    stable::<ChainName>(text);
    stable::<Label>(text);
    stable::<Subject>(text);
    stable::<Part>(text);
    stable::<Hash>(text);
    stable::<TransactionId>(text);
    stable::<Key>(text);
    stable::<Digest>(text);
    stable::<Lineage>(text);
    stable::<OutboxId>(text);
    stable::<InstanceId>(text);
    matching(text);
});

fn stable<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            let Ok(again) = printed.parse::<T>() else { panic!("{printed:?} is not read") };
            assert_eq!(again, value);
            assert_eq!(again.to_string(), printed, "one value, one text");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The first line as a policy, asked about the consumer in the second.
fn matching(text: &str) {
    let Some((policy, consumer)) = text.split_once('\n') else { return };
    if let (Ok(policy), Ok(consumer)) = (policy.parse::<Policy>(), consumer.parse()) {
        let again: Policy = policy.to_string().parse().expect("own text is read");
        assert_eq!(policy.names(&consumer), again.names(&consumer));
    }
}
