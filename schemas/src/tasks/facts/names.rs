//! Texts that many rows repeat, each stored once and named by a number.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The number of a text. Two names are equal if and only if their texts are; their order means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::tasks) struct Name(NonZeroU32);

impl Name {
    /// The least name, for ranges.
    pub(in crate::tasks) const MIN: Name = Name(NonZeroU32::MIN);
    /// The largest name, for ranges.
    pub(in crate::tasks) const MAX: Name = Name(NonZeroU32::MAX);

    fn at(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A text and the number of places that keep it.
#[derive(Debug)]
struct Kept {
    text: Arc<str>,
    uses: u32,
}

/// The table of texts. A text is dropped when the last row that keeps it has released it.
#[derive(Debug, Default)]
pub(in crate::tasks) struct Names {
    numbers: HashMap<Arc<str>, Name>,
    kept: Vec<Kept>,
    free: Vec<Name>,
    none: Arc<str>,
}

impl Names {
    /// The name of a text, which is kept once more.
    pub(in crate::tasks) fn keep(&mut self, text: &str) -> Name {
        if let Some(name) = self.find(text) {
            if let Some(kept) = self.kept.get_mut(name.at()) {
                kept.uses += 1;
            }
            return name;
        }
        let text: Arc<str> = text.into();
        let name = match self.free.pop() {
            Some(name) => {
                self.kept[name.at()] = Kept { text: text.clone(), uses: 1 };
                name
            }
            None => {
                self.kept.push(Kept { text: text.clone(), uses: 1 });
                let number = u32::try_from(self.kept.len()).ok().and_then(NonZeroU32::new);
                debug_assert!(number.is_some(), "memory ends before the numbers do");
                Name(number.unwrap_or(NonZeroU32::MAX))
            }
        };
        self.numbers.insert(text, name);
        name
    }

    /// The name of a text, if a row keeps it.
    pub(in crate::tasks) fn find(&self, text: &str) -> Option<Name> {
        self.numbers.get(text).copied()
    }

    /// The text of a name.
    pub(in crate::tasks) fn text(&self, name: Name) -> &Arc<str> {
        debug_assert!(self.kept.get(name.at()).is_some_and(|kept| kept.uses > 0), "a name is used while it is kept");
        self.kept.get(name.at()).map_or(&self.none, |kept| &kept.text)
    }

    /// The text of a name as a value of its own.
    pub(in crate::tasks) fn owned(&self, name: Name) -> String {
        self.text(name).to_string()
    }

    /// Keeps a name once less.
    pub(in crate::tasks) fn release(&mut self, name: Name) {
        let Some(kept) = self.kept.get_mut(name.at()) else {
            return;
        };
        debug_assert!(kept.uses > 0, "a name is released as often as it was kept");
        kept.uses = kept.uses.saturating_sub(1);
        if kept.uses == 0 {
            self.numbers.remove(&kept.text);
            kept.text = self.none.clone();
            self.free.push(name);
        }
    }

    /// Keeps several names once less.
    pub(in crate::tasks) fn release_all(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            self.release(name);
        }
    }

    /// The number of texts.
    #[cfg(test)]
    pub(in crate::tasks) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_stored_once_and_dropped_with_its_last_use() {
        let mut names = Names::default();
        let first = names.keep("a");
        assert_eq!(names.keep("a"), first);
        let other = names.keep("b");
        assert_ne!(other, first);
        names.release(first);
        assert_eq!(names.find("a"), Some(first));
        names.release(first);
        assert_eq!(names.find("a"), None);
        assert_eq!(names.keep("c"), first, "its number is used again");
        assert_eq!(&**names.text(first), "c");
        names.release_all([first, other]);
        assert_eq!(names.len(), 0);
    }
}
