//! The embedded log keeps the promises.

mod on_disk;
