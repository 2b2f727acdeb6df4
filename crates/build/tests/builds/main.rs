//! Builds that run no process: what is copied, how it arrives, and what the cache takes for the same.

mod cache;
mod copies;
mod moving;
mod project;
mod selection;
