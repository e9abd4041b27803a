//! Words that one thread may read while another writes them.

use crate::sync::{DataUsize, Ordering, const_unless_loom};

/// A word of a node. The thread with exclusive access to the tree writes it. Any other thread
/// may read it at the same time, and learns from a [sequence counter](super::seq_count) whether
/// the words that it has read belong together.
///
/// Relaxed: the fences of the sequence counter order the words for concurrent readers. The lock or
/// the `&mut` reference that gives a writer exclusive access orders its accesses after those of
/// earlier writers.
pub struct Word(DataUsize);

impl Word {
    const_unless_loom! {
        /// Returns a word that holds `value`.
        pub fn new(value: usize) -> Self {
            Self(DataUsize::new(value))
        }
    }

    /// Returns the value.
    #[inline(always)]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the value.
    #[inline(always)]
    pub fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns `N` words that hold `value`.
    pub fn array<const N: usize>(value: usize) -> [Self; N] {
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
    const_unless_loom! {
        /// Returns a link to no node.
        pub fn none() -> Self {
            Self(Word::new(0))
        }
    }

    /// Returns the node's number.
    #[inline(always)]
    pub fn get(&self) -> Option<u32> {
        // Truncates nothing: only `set` writes the word, with a number of 32 bits plus 1.
        self.0.get().checked_sub(1).map(|id| id as u32)
    }

    /// Links to the node `id`.
    #[inline(always)]
    pub fn set(&self, id: Option<u32>) {
        self.0.set(id.map_or(0, |id| id as usize + 1));
    }
}
