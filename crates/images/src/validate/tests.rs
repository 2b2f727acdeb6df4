//! A validator must find what is broken.
