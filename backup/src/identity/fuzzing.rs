//! What fuzzing reaches here.

use tipline_proto::Timestamp;

use super::bundle::{MAX_BYTES, pack, unpack};
use super::key_file::KeyFile;
use super::name::{IdentityName, object, parse};

/// Bytes as what is in a backup, decrypted; and as the content of a key file that is backed up.
pub(crate) fn bundle(bytes: &[u8]) {
    let (Ok(name), time) = ("node-1".parse::<IdentityName>(), Timestamp::from_micros(7)) else {
        return;
    };
    let again = |files: &[KeyFile]| {
        let packed = pack(&name, time, files).map_err(|error| error.to_string());
        packed.and_then(|packed| unpack(&packed, &name, time))
    };
    match unpack(bytes, &name, time) {
        Ok(files) => {
            let size: usize = files.iter().map(|file| file.bytes.len()).sum();
            assert!(size <= bytes.len() && size as u64 <= MAX_BYTES, "{size}");
            assert_eq!(again(&files), Ok(files));
        }
        Err(why) => assert!(!why.is_empty()),
    }
    let file = KeyFile { name: "key".into(), path: "/etc/key".into(), bytes: bytes.to_vec() };
    let packed = pack(&name, time, std::slice::from_ref(&file)).unwrap_or_default();
    for end in [packed.len() / 2, packed.len().saturating_sub(1024 + 512)] {
        assert!(unpack(&packed[..end], &name, time) != Ok(vec![file.clone()]) || bytes.is_empty());
    }
    assert_eq!(unpack(&packed, &name, time), Ok(vec![file]));
}

/// Text as the name of a backup.
pub(crate) fn object_name(text: &str) {
    if let Some((name, time)) = parse(text) {
        assert_eq!(object(&name, time), text, "there is one name");
    }
}
