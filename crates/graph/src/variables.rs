//! Variables in the order in which they were last set, as many steps see them: a copy costs nothing.

use std::collections::HashSet;

use crate::Chain;

/// Names and values; setting a name again moves it to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Chain<(String, String)>);

impl Variables {
    /// Sets a variable; copies made before keep its old value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Each name with its last value, in order.
    pub fn pairs(&self) -> Vec<&(String, String)> {
        let mut seen = HashSet::new();
        let mut pairs: Vec<&(String, String)> = self.0.newest_first().filter(|(name, _)| seen.insert(name)).collect();
        pairs.reverse();
        pairs
    }
}

impl<'a> IntoIterator for &'a Variables {
    type Item = &'a (String, String);
    type IntoIter = std::vec::IntoIter<&'a (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.pairs().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_set_again_moves_to_the_end() {
        let mut variables = Variables::default();
        variables.set("a", "1");
        variables.set("b", "2");
        let before = variables.clone();
        variables.set("a", "3");
        let pairs = |variables: &Variables| variables.pairs().into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(pairs(&variables), [("b".into(), "2".into()), ("a".into(), "3".into())]);
        assert_eq!(pairs(&before), [("a".into(), "1".into()), ("b".into(), "2".into())]);
    }
}
