//! The random tests are proptest's: a failure prints the smallest input and keeps its seed in
//! `proptest-regressions/`, to be committed with the fix.

mod agreement;
mod arbitrary;
mod decode;
mod digest;
mod examples;
mod golden;
mod hash;
mod headers;
mod links;
mod numbers;
mod parts;
mod policy;
mod ranges;
mod reached;
mod shared;
mod signature;
mod text;
mod wire;
