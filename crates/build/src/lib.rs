//! Sources, operations, cache and exporters, put together into a build
