//! Limits of what servers take, and how files are cut so that they keep within them.

/// Pieces of a file are this large, unless the file would have too many of them.
pub(super) const PIECE: usize = 8 << 20;
/// Most pieces of a file. S3 and Google Cloud Storage take 10,000, Azure 50,000.
const MAX_PIECES: u64 = 9_000;
/// How many pieces are on their way at most.
const CONCURRENT: usize = 4;
/// How many bytes are on their way, unless one piece has more.
const ON_THEIR_WAY: usize = 64 << 20;

/// How a file is cut for an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Bytes of each, but for the last.
    pub(super) bytes: usize,
    /// How many are on their way at once.
    pub(super) concurrent: usize,
}

impl Pieces {
    /// Of a file of this length. It may grow by a tenth while it is read, and still fits.
    pub(super) fn of(length: u64) -> Self {
        let needed = length.div_ceil(MAX_PIECES);
        let bytes = usize::try_from(needed).unwrap_or(usize::MAX).max(PIECE);
        Self { bytes, concurrent: (ON_THEIR_WAY / bytes).clamp(1, CONCURRENT) }
    }

    /// Bytes on their way at most.
    pub(super) fn on_their_way(self) -> u64 {
        self.bytes as u64 * self.concurrent as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_that_a_server_takes_has_more_pieces_than_it_takes() {
        let gib = 1 << 30;
        for length in [0, 1, 8 << 20, 70 * gib, 79 * gib, 100 * gib, 1024 * gib, 5 * 1024 * gib] {
            let pieces = Pieces::of(length);
            let count = length.div_ceil(pieces.bytes as u64);
            assert!(count <= 9_000, "{length} bytes: {count} pieces");
            // S3 takes no piece below 5 MiB but the last, and none above 5 GiB.
            assert!((5 << 20..=5 * gib as usize).contains(&pieces.bytes), "{pieces:?}");
            assert!(pieces.on_their_way() <= (64 << 20).max(pieces.bytes as u64), "{pieces:?}");
        }
        assert_eq!(Pieces::of(70 * gib), Pieces { bytes: PIECE, concurrent: 4 });
    }
}
