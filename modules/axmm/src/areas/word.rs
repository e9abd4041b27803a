//! Words that are read while they are written.

use crate::atomic::{DataUsize, Ordering};

/// A word of a node. The hart with the index lock writes it; any other may read it at the
/// same time, and learns by a [`Version`](super::version::Version) whether it has read
/// words that belong together.
///
/// Relaxed: the fences of the version order the words, and the index lock those of one
/// writer before those of the next.
pub struct Word(DataUsize);

impl Word {
    /// A word that holds `value`.
    pub fn new(value: usize) -> Self {
        Self(DataUsize::new(value))
    }

    /// Returns what it holds.
    #[inline(always)]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes it.
    #[inline(always)]
    pub fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns `count` words that hold `value`.
    pub fn row<const N: usize>(value: usize) -> [Self; N] {
        core::array::from_fn(|_| Self::new(value))
    }

    /// Writes `value` to each of `words`.
    pub fn fill(words: &[Self], value: usize) {
        words.iter().for_each(|word| word.set(value));
    }
}

/// The number of a node, or `None`, in one word.
pub struct Link(Word);

impl Link {
    /// A link to no node.
    pub fn none() -> Self {
        Self(Word::new(0))
    }

    /// Returns the node's number.
    #[inline(always)]
    pub fn get(&self) -> Option<u32> {
        // Truncates nothing: `set` alone writes it.
        self.0.get().checked_sub(1).map(|id| id as u32)
    }

    /// Links to the node `id`.
    #[inline(always)]
    pub fn set(&self, id: Option<u32>) {
        self.0.set(id.map_or(0, |id| id as usize + 1));
    }
}
