//! The distribution protocol and its authentication
