mod history;
mod model;
#[cfg(feature = "sqlite")]
mod speed;
#[cfg(feature = "sqlite")]
mod sqlite;
mod verify;
