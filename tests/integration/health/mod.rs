//! Health of real processes, as load balancers see it.

mod answers;
mod balanced;
mod fleet;
mod stuck_disk;
