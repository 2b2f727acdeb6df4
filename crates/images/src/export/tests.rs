//! Archives as other tools take them.
