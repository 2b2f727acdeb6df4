//! What runs, when, and once: a pure scheduler and the loop that drives it
