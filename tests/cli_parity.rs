//! cli_parity
