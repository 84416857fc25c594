//! The verifiable log beside an archive, in the folder `tlog/` of its destination: static files by
//! c2sp.org/tlog-tiles, which any web server can serve.
//!
//! ```text
//! tlog/checkpoint             the newest signed checkpoint: the one object that is replaced
//! tlog/pending                the newest one that was signed, until its cosignatures are there
//! tlog/cosigned/<ID>          the newest one that the key with this ID has cosigned; or that a key of the
//!                             log signed when another one went on after it, signed by both
//! tlog/tile/<L>/<N>           256 hashes of the tree
//! tlog/tile/<L>/<N>.p/<W>     the first W of them, where the tree ended when it was signed
//! ```
//! Entry bundles are left out: an entry is in the archive, and a proof carries its preimage. No name
//! is given twice, and a tile that is there already must be equal. A checkpoint is written after all
//! that it needs. With a policy it is published only once its quorum has cosigned it.
//!
//! Two checkpoints that contradict each other must never exist. So only what was read back from the
//! archive and verified is signed. The tree is continued only if its tiles give the root that was
//! signed, and the archive still has the entry that was signed last. And what was signed is
//! remembered beside the key: see [`KeyFile`].

mod ask;
mod certify;
mod check;
mod cosigned;
mod error;
mod find;
mod key_file;
mod leaf;
mod leaves;
mod mirror;
mod place;
mod prove;
mod proven;
mod read_back;
mod sign;
mod succeed;
#[cfg(test)]
mod tests;
mod watch;
mod witness;

pub use ask::{Answer, Asked, MAX_ANSWER, NotCosigned, Post, Witnesses};
pub use certify::certify;
pub use check::SignedTree;
pub(crate) use check::TreeCheck;
pub use error::TreeError;
pub use find::Wanted;
pub use key_file::{KeyFile, KeyFileError};
pub(crate) use key_file::{create_text, read_text};
pub use leaf::{BadLeaf, Leaf};
pub use mirror::Mirror;
pub use place::{Consistency, TreePlace, origin};
pub use prove::prove_entry;
pub use proven::{Proven, check_proof, check_proof_by};
pub use sign::{Signed, sign};
pub use succeed::succeed;
pub use watch::{Witnessed, watch_tree};
pub use witness::{Witness, WitnessError};
