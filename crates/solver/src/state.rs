//! The scheduler.
use crate::protocol::{Action, Event};
use std::num::NonZeroUsize;

/// The scheduler.
pub struct State<K, O, E> {
    p: std::marker::PhantomData<(K, O, E)>,
}
impl<K: Clone + Ord, O: Clone + PartialEq, E: Clone> State<K, O, E> {
    /// An idle scheduler with at most `slots` executions at once.
    pub fn new(_slots: NonZeroUsize) -> Self {
        State { p: std::marker::PhantomData }
    }
    /// Takes note of an event and tells what is to be done.
    pub fn on(&mut self, _event: Event<K, O, E>) -> Vec<Action<K, O, E>> {
        Vec::new()
    }
}
