//! Health of real processes, as load balancers see it.

mod answers;
mod balanced;
mod fleet;
pub(crate) mod stuck_disk;
