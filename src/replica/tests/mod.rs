//! Behaviour of the replica, read back with plain SQL.
