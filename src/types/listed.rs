//! What a list is made of, with the rows that cannot be read named beside it.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::error::{Result, Unreadable};

/// The rows of a list. It is used like the `Vec` of its [`items`](Self::items). One row that cannot be read does not
/// hide the others: it is named in [`unreadable`](Self::unreadable).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// The rows that belong to the list and cannot be read.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

impl<T> Listed<T> {
    /// The rows, where all of them could be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) of the first that could not.
    pub fn complete(self) -> Result<Vec<T>> {
        match self.unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.into()),
            None => Ok(self.items),
        }
    }

    pub(crate) fn take(&mut self, row: Result<T, Unreadable>) {
        match row {
            Ok(row) => self.items.push(row),
            Err(unreadable) => self.unreadable.push(unreadable),
        }
    }

    /// With items made of these.
    pub(crate) fn map<U>(self, items: impl FnOnce(Vec<T>) -> Vec<U>) -> Listed<U> {
        Listed { items: items(self.items), unreadable: self.unreadable }
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    /// A list without unreadable rows.
    fn from(items: Vec<T>) -> Self {
        Listed { items, unreadable: Vec::new() }
    }
}

impl<T> Deref for Listed<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> DerefMut for Listed<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

/// Equal to a list of these rows without unreadable ones.
impl<T: PartialEq> PartialEq<Vec<T>> for Listed<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        self.unreadable.is_empty() && self.items == *other
    }
}

/// As of a `Vec`.
impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Listed<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self.unreadable.is_empty() && self.items == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_list_with_a_row_missing_is_not_complete_and_equals_no_other() {
        let all = Listed::from(vec![1, 2]);
        assert_eq!(all, [1, 2]);
        assert_eq!(all.complete().expect("all"), [1, 2]);
        let unreadable = Unreadable {
            table: "users".into(),
            key: "7".into(),
            column: "email".into(),
            reason: "cannot be decoded".into(),
        };
        let mut some = Listed::from(vec![1]);
        some.take(Err(unreadable));
        assert_ne!(some, [1]);
        assert_eq!((some.len(), some.iter().sum::<i32>()), (1, 1));
        assert!(matches!(some.complete(), Err(Error::Corrupt { key, .. }) if key == "7"));
    }
}
