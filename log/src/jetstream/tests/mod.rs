//! The adapter against a broker that is out of its mind, or lies. What a real one does is tried in
//! `tests/integration/jetstream/`.

mod answers;
mod boards;
mod broker;
mod ended;
mod lies;
mod numbers;
