mod gated;
mod receipts;
mod refuse;
mod replicate;
mod running;
mod verify;
mod waiting;
