//! `kiln cache export` and `kiln cache import`: what a store's cache holds, without a build.
