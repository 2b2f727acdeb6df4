//! One suite over every kind of depot: what [`kiln_cache::depot`] promises holds wherever a cache lies.

mod directory;
mod place;
mod registry;
mod suite;
