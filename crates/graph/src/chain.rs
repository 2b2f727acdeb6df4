//! A list that grows at one end and shares the rest: a copy costs nothing however long it is.
//! Knows nothing of what it holds.

use std::fmt;
use std::sync::Arc;

/// A list whose copies share what they have in common.
pub struct Chain<T> {
    newest: Option<Arc<Link<T>>>,
    length: usize,
}

struct Link<T> {
    value: T,
    older: Option<Arc<Link<T>>>,
}

impl<T> Chain<T> {
    /// Adds a value; copies made before do not see it.
    pub fn push(&mut self, value: T) {
        let older = self.newest.take();
        self.newest = Some(Arc::new(Link { value, older }));
        self.length += 1;
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The values, the last one first.
    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        let mut next = self.newest.as_deref();
        std::iter::from_fn(move || {
            let link = next?;
            next = link.older.as_deref();
            Some(&link.value)
        })
    }

    /// The values, the first one first.
    pub fn oldest_first(&self) -> Vec<&T> {
        let mut values: Vec<&T> = self.newest_first().collect();
        values.reverse();
        values
    }
}

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Chain { newest: None, length: 0 }
    }
}

impl<T> Clone for Chain<T> {
    fn clone(&self) -> Self {
        Chain { newest: self.newest.clone(), length: self.length }
    }
}

impl<T> Drop for Chain<T> {
    /// Link by link: a long chain that was dropped link within link would exhaust the stack.
    fn drop(&mut self) {
        let mut next = self.newest.take();
        while let Some(link) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.older.take());
        }
    }
}

impl<T> FromIterator<T> for Chain<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut chain = Chain::default();
        values.into_iter().for_each(|value| chain.push(value));
        chain
    }
}

impl<T: PartialEq> PartialEq for Chain<T> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.newest_first().eq(other.newest_first())
    }
}

impl<T: Eq> Eq for Chain<T> {}

impl<T: fmt::Debug> fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.oldest_first()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_the_past_and_not_the_future() {
        let mut one: Chain<u32> = [1, 2].into_iter().collect();
        let mut other = one.clone();
        one.push(3);
        other.push(4);
        assert_eq!(one.oldest_first(), [&1, &2, &3]);
        assert_eq!(other.newest_first().collect::<Vec<_>>(), [&4, &2, &1]);
        assert_eq!((one.len(), one.is_empty(), Chain::<u32>::default().is_empty()), (3, false, true));
        assert_ne!(one, other);
    }

    #[test]
    fn a_long_chain_is_dropped_without_exhausting_the_stack() {
        drop((0..1_000_000).collect::<Chain<u32>>());
    }
}
