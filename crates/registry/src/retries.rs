//! Telling whoever waits that a request is sent again: why, and when.
//!
//! The listener belongs to the async task that asked, so that it need not be handed through everything between.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A request that failed and will be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Who was asked.
    pub host: String,
    /// Why it has to be asked again.
    pub why: String,
    /// Which attempt comes next; the first was 1.
    pub attempt: u32,
    /// How many there are at most.
    pub attempts: u32,
    /// When it begins.
    pub pause: Duration,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retry { host, why, attempt, attempts, pause } = self;
        write!(f, "{host}: {why}: attempt {attempt} of {attempts} in {:.1} s", pause.as_secs_f64())
    }
}

/// Takes what is told.
pub type Listener = Arc<dyn Fn(&Retry) + Send + Sync>;

tokio::task_local! {
    static LISTENER: Listener;
}

/// Does `work`, and tells `listener` of what is sent again for it.
pub async fn heard<T>(listener: Listener, work: impl Future<Output = T>) -> T {
    LISTENER.scope(listener, work).await
}

/// Work for another async task, which tells the listener of this one.
pub fn inherited<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let listener = LISTENER.try_with(Arc::clone);
    async move {
        match listener {
            Ok(listener) => LISTENER.scope(listener, work).await,
            Err(_) => work.await,
        }
    }
}

/// Tells whoever listens.
pub(crate) fn tell(retry: &Retry) {
    // Nobody need listen.
    let _ = LISTENER.try_with(|listener| listener(retry));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn work_in_another_task_is_heard_where_it_was_asked_for() {
        let retry = Retry {
            host: "r.example".into(),
            why: "503 Service Unavailable".into(),
            attempt: 2,
            attempts: 6,
            pause: Duration::from_millis(250),
        };
        let heard_texts = Arc::new(Mutex::new(Vec::new()));
        let texts = Arc::clone(&heard_texts);
        let listener: Listener = Arc::new(move |retry| texts.lock().unwrap().push(retry.to_string()));
        let copy = retry.clone();
        heard(listener, async { tokio::spawn(inherited(async move { tell(&copy) })).await.unwrap() }).await;
        tell(&retry);
        let expected = "r.example: 503 Service Unavailable: attempt 2 of 6 in 0.2 s";
        assert_eq!(*heard_texts.lock().unwrap(), [expected]);
    }
}
