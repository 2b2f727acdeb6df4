//! Archives of every form, whole and damaged.
