//! `kiln registry serve` as a process over a store: how it ends, what survives its end, and what it shares with the
//! images of the same store.

mod ends;
mod faults;
mod script;
mod sharing;
