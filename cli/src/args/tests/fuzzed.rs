//! Any bytes are settings, or an error that says where. A secret in them is in no error. There is no target
//! in `fuzz/`: the settings are those of the whole program, which is no library.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::error_chain;

use super::load;
use crate::settings::BadSettings;

/// What no error may repeat.
const SECRET: &str = "Sw0rdf1sh";
/// What settings are made of.
const PARTS: &[u8] = b"\"'=[]{}\n,.:@/#\\-+ 0x\xff\0\xc3";

/// Secrets wherever one may be, with every kind of value around them.
fn settings() -> String {
    format!(
        "nats-domain = 'hub'
log = \"nats://node:{SECRET}@127.0.0.1:4222/main\"
nats-user = 'node' # whose
nats-password = '{SECRET}'
nats-inbox = '_INBOX.node'
nats-token = \"\"\"{SECRET}\"\"\"
accept-shortfalls = true
log-format = 'json'
[status]
max-lag = 5
silent-after = '20s'
[backup]
name = 'backup-1'
store = 'sqlite:b.db'
checkpoint-every = \"1h\"
"
    )
}

/// What is said of a file that is refused.
fn told(file: &[u8], command: &[&str]) -> Option<String> {
    match load(file, command, &[]) {
        Ok(args) => {
            let shown = format!("{args:?}");
            assert!(!shown.contains(SECRET), "{shown}");
            None
        }
        Err(error) => {
            // Whatever the file says is checked where it is read, and nowhere later.
            let is_of_the_file = matches!(error, BadSettings::File(_));
            let text = error_chain(&error);
            assert!(is_of_the_file && text.contains("tipline.toml"), "{text}");
            assert!(!text.contains(SECRET), "{text}");
            Some(text)
        }
    }
}

#[test]
fn harmed_settings_are_an_error_with_its_place_and_no_secret_is_told() {
    let seed = std::env::var("TIPLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("TIPLINE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let whole = settings().into_bytes();
    assert_eq!(told(&whole, &["status"]), None);
    let mut refused = 0;
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.random_range(0..bytes.len());
            let to = bytes.len().min(at + rng.random_range(0..24));
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => drop(bytes.drain(at..to)),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, PARTS[rng.random_range(0..PARTS.len())]),
            }
        }
        let backup = ["backup", "--name", "b", "--store", "sqlite:b.db"];
        let command = if round % 2 == 0 { &["status"][..] } else { &backup };
        refused += usize::from(told(&bytes, command).is_some());
    }
    assert!(refused > 100, "{refused} of 400 were harmed enough");
}

/// Mistakes that people make.
#[test]
fn a_secret_at_the_wrong_place_is_not_told() {
    for line in [
        format!("nats-password = {SECRET}"),
        format!("nats-password = ['{SECRET}']"),
        format!("nats-password = {{ text = '{SECRET}' }}"),
        format!("nats-password '{SECRET}'"),
        format!("nats-pasword = '{SECRET}'"),
        format!("[status]\nnats-password = '{SECRET}'"),
        format!("nats-password = 'a'\nnats-password = '{SECRET}'"),
        SECRET.to_owned(),
        format!("nats-domain = 'nats://node:{SECRET}@host/main'"),
        format!("nats-inbox = '{SECRET}@host'"),
        format!("log = 'nats:/node:{SECRET}@host/main'\nmax = 1"),
        format!("log = 'node:{SECRET}@host:4222/main'\nmax = 1"),
        format!("log = '{SECRET}@host:4222/main'"),
        format!("log = 'nats://node:{SECRET}'"),
        format!("log = 'nats://node:{SECRET}127.0.0.1:4222/main'"),
        format!("log = 'nats://node:{SECRET}@host/NAME'"),
        format!("log = nats://node:{SECRET}@host/name"),
    ] {
        assert!(told(line.as_bytes(), &["status"]).is_some(), "{line}");
    }
}
