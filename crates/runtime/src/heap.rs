//! How many heaps this process has: what threads gave back to one heap, threads of another cannot use.

/// Lets the C library make as many heaps as there are processors instead of eight times as many: builds start many
/// threads, most of which wait. Call it before any thread is started; other C libraries have one heap anyway.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let most = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
        // SAFETY: mallopt takes two numbers and sets a limit of the allocator; no thread runs yet that could race.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, most) };
    }
}
