//! Hashes and ids are the bytes that they were made of.

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::arbitrary;
use crate::limits::MAX_HASH_BYTES;
use crate::{Hash, TransactionId};

proptest! {
    /// Of few different bytes, so that one often begins as the other does, or is the other.
    #[test]
    fn they_compare_as_their_bytes_do(
        one in proptest::collection::vec(0_u8..2, 1..=MAX_HASH_BYTES),
        other in proptest::collection::vec(0_u8..2, 1..=4),
    ) {
        for (one, other) in [(&one, &other), (&one, &one), (&one, &one[..1].to_vec())] {
            let (a, b) = (Hash::new(one).unwrap(), Hash::new(other).unwrap());
            prop_assert_eq!((a.as_ref(), b.as_ref()), (&one[..], &other[..]));
            prop_assert_eq!((a.cmp(&b), a == b), (one.cmp(other), one == other));
        }
    }

    #[test]
    fn reversing_twice_changes_nothing(hash in arbitrary::hash()) {
        let reversed = hash.reversed();
        prop_assert!(reversed.as_ref().iter().eq(hash.as_ref().iter().rev()));
        prop_assert_eq!(reversed.reversed(), hash);
    }
}

#[test]
fn none_is_empty_or_too_long() {
    for length in [0, MAX_HASH_BYTES + 1, 1 << 20] {
        let bytes = vec![7; length];
        assert!(Hash::new(&bytes).is_err() && TransactionId::new(&bytes).is_err(), "{length}");
    }
    let longest = [7; MAX_HASH_BYTES];
    assert_eq!(TransactionId::new(longest).unwrap().as_ref(), longest);
}
