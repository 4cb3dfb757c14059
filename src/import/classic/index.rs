//! Parts of the files by their names, which do not differ by case: a file may have tens of thousands of each.

use std::collections::HashMap;

pub(super) struct Index<'i, T>(HashMap<String, &'i T>);

impl<'i, T> Index<'i, T> {
    /// Of two with one name the first is meant; that there are two is said elsewhere.
    pub(super) fn new(all: impl Iterator<Item = (&'i str, &'i T)>) -> Self {
        let mut index = HashMap::new();
        for (name, one) in all {
            index.entry(name.to_ascii_lowercase()).or_insert(one);
        }
        Self(index)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'i T> {
        self.0.get(&name.to_ascii_lowercase()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_differ_by_case_and_the_first_counts() {
        let all = [("Web", 1), ("relay", 2), ("WEB", 3)];
        let index = Index::new(all.iter().map(|(name, number)| (*name, number)));
        assert_eq!((index.get("web"), index.get("Relay"), index.get("x")), (Some(&1), Some(&2), None));
    }
}
