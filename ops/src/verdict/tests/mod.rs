mod assess;
mod liveness;
mod look;
