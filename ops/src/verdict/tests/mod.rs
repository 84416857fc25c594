mod assess;
mod look;
