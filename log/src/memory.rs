//! A log in memory, for simulation and tests.
