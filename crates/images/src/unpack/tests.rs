//! Hostile archives and whiteouts.
