mod history;
mod model;
#[cfg(feature = "sqlite")]
mod sqlite;
mod verify;
