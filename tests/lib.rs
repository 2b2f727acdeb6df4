//! What whole-program tests share: the binary under test, fixtures, hygiene checks.
