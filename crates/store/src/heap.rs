//! Giving memory back to the system that was used once and will not be again soon.

/// Hands pages that hold nothing back. The C library keeps them otherwise, as long as anything behind them lives. Takes
/// as long as looking at everything that is free: for large amounts only.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes the number of bytes to leave, and locks each heap itself while it looks at it.
        unsafe { libc::malloc_trim(0) };
    }
}
