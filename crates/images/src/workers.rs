//! The threads that read and compress for writers of archives. What runs on them waits for nobody.

use std::io;
use std::sync::{Arc, OnceLock};

/// Threads of their own, because a writer that runs on the global pool would wait for itself.
pub(crate) fn pool() -> io::Result<Arc<rayon::ThreadPool>> {
    static POOL: OnceLock<Option<Arc<rayon::ThreadPool>>> = OnceLock::new();
    let build = || {
        let builder = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("worker-{n}"));
        builder.build().ok().map(Arc::new)
    };
    let pool = POOL.get_or_init(build).clone();
    pool.ok_or_else(|| io::Error::other("cannot start threads for reading and compressing"))
}
