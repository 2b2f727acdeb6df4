//! One suite over every kind of depot: what [`kiln_cache::depot`] promises holds wherever a cache lies.

mod bucket;
mod directory;
mod faults;
mod memory;
mod place;
mod process;
mod registry;
#[expect(unreachable_pub, reason = "whole-program tests have it from their own crate")]
#[path = "../../../../tests/support/s3.rs"]
mod s3;
mod suite;
