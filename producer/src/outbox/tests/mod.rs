pub(super) mod histories;
