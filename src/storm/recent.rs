//! A memory of the recent past that is bounded: what is older than two windows, or beyond two generations, is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Timestamp;

/// Two generations of entries.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    begun: Timestamp,
    window: Duration,
    most: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Remembers everything for at least `window`, if no more than `most` come in that time.
    pub fn new(window: Duration, most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), begun: Timestamp::from_ms(0), window, most }
    }

    /// What is remembered of this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Remembers this of the key, in place of what was.
    pub fn put(&mut self, key: K, value: V, now: Timestamp) {
        if self.young.len() >= self.most || now.since(self.begun) >= self.window {
            self.old = std::mem::take(&mut self.young);
            self.begun = now;
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets this key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_for_a_window_and_forgets_after_two_or_when_too_much_comes() {
        let at = |s: i64| Timestamp::from_ms(s * 1000);
        let mut recent = Recent::new(Duration::from_secs(10), 3);
        recent.put(1, "a", at(100));
        recent.put(2, "b", at(109));
        recent.put(3, "c", at(110));
        assert_eq!((recent.get(&1), recent.get(&2), recent.get(&3)), (Some(&"a"), Some(&"b"), Some(&"c")));
        recent.put(4, "d", at(120));
        assert_eq!((recent.get(&1), recent.get(&3)), (None, Some(&"c")));
        for key in 5..20 {
            recent.put(key, "e", at(120));
        }
        assert!((1..20).filter(|key| recent.get(key).is_some()).count() <= 6);
        assert_eq!(recent.remove(&19), Some("e"));
        assert_eq!(recent.get(&19), None);
    }
}
