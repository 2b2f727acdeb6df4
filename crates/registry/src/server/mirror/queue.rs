//! One at a time for each name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Names that somebody is busy with.
#[derive(Debug, Default)]
pub(super) struct Queue {
    names: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Queue {
    /// Waits until nobody is busy with the name; until the guard goes, others wait.
    pub(super) async fn wait(&self, name: String) -> OwnedMutexGuard<()> {
        let place = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            match names.get(&name).and_then(Weak::upgrade) {
                Some(place) => place,
                None => {
                    names.retain(|_, place| place.strong_count() > 0);
                    let place = Arc::<tokio::sync::Mutex<()>>::default();
                    names.insert(name, Arc::downgrade(&place));
                    place
                }
            }
        };
        place.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_same_name_waits() {
        let queue = Arc::new(Queue::default());
        let first = queue.wait("a".into()).await;
        drop(queue.wait("b".into()).await);
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.wait("a".into()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        drop(waiting.await.unwrap());
        drop(queue.wait("c".into()).await);
        assert_eq!(queue.names.lock().unwrap().len(), 1);
    }
}
