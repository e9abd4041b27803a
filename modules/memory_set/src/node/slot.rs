//! What a leaf keeps of an area beside its addresses: the flags and the backend.
//!
//! There are two kinds. An [`OwnedSlot`] holds any value, and gives out references to it. A
//! [`WordSlot`] holds plain words, which other threads may read while they are written.
//!
//! Nodes are changed by one thread at a time, which has exclusive access to the tree: through
//! `&mut MemorySet`, or by the lock that `SharedMemorySet::locked` asks for. Only that thread
//! changes slots. While there is no such thread, any thread may read.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use super::word::Word;

/// The number of words in a [`WordSlot`].
pub const WORDS: usize = 5;

/// A place for the flags and the backend of one area.
pub trait Slot: Sized {
    /// What is stored.
    type Value;

    /// What is taken out when an area is removed. This is the value if values may own something.
    type Removed;

    /// Returns a vacant slot.
    fn vacant() -> Self;

    /// Makes a vacant slot an occupied one.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the tree. No reference to the slot's value exists.
    unsafe fn write(&self, value: Self::Value);

    /// Makes an occupied slot a vacant one.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the tree. The slot is occupied, and no reference to
    /// its value exists.
    unsafe fn take(&self) -> Self::Removed;

    /// Moves the value of `from`, an occupied slot, into this one, a vacant slot.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the tree. `from` is occupied, and no reference to its
    /// value exists.
    unsafe fn move_from(&self, from: &Self);
}

/// A slot for a value of any type.
pub struct OwnedSlot<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> OwnedSlot<T> {
    /// Returns the value.
    ///
    /// # Safety
    ///
    /// The slot is occupied, and is not changed as long as the reference is used.
    #[inline(always)]
    pub(crate) unsafe fn get(&self) -> &T {
        // SAFETY: the caller promises that a value has been written, and that no thread writes
        // it as long as the reference is used.
        unsafe { (*self.0.get()).assume_init_ref() }
    }

    /// Returns the value, to change it in place.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the tree. The slot is occupied, and no other
    /// reference to its value exists as long as this one is used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: the caller promises that a value has been written, and that this is the only
        // reference to it.
        unsafe { (*self.0.get()).assume_init_mut() }
    }
}

impl<T> Slot for OwnedSlot<T> {
    type Value = T;
    type Removed = T;

    #[inline]
    fn vacant() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    #[inline(always)]
    unsafe fn write(&self, value: T) {
        // SAFETY: the caller has exclusive access, and no reference to the value exists.
        unsafe { (*self.0.get()).write(value) };
    }

    #[inline(always)]
    unsafe fn take(&self) -> T {
        // SAFETY: the caller has exclusive access and promises that a value has been written.
        // The slot is vacant from here on, so the value is read once.
        unsafe { (*self.0.get()).assume_init_read() }
    }

    #[inline(always)]
    unsafe fn move_from(&self, from: &Self) {
        // SAFETY: the caller's promises are those that both functions require.
        unsafe { self.write(from.take()) };
    }
}

/// A slot for plain words: the flags in the first, the backend in the others.
pub struct WordSlot([Word; WORDS]);

impl WordSlot {
    /// Returns the words. If another thread writes meanwhile, some may be old and some new.
    #[inline(always)]
    pub(crate) fn words(&self) -> [usize; WORDS] {
        [
            self.0[0].get(),
            self.0[1].get(),
            self.0[2].get(),
            self.0[3].get(),
            self.0[4].get(),
        ]
    }

    /// Returns whether the words are `words`.
    #[inline(always)]
    pub(crate) fn has_words(&self, words: &[usize; WORDS]) -> bool {
        self.0
            .iter()
            .zip(words)
            .all(|(own, word)| own.get() == *word)
    }

    /// Returns the first word, which is that of the flags.
    #[inline(always)]
    pub(crate) fn flags_word(&self) -> usize {
        self.0[0].get()
    }

    /// Replaces the first word.
    #[inline(always)]
    pub(crate) fn set_flags_word(&self, word: usize) {
        self.0[0].set(word);
    }

    #[inline(always)]
    fn set_words(&self, words: [usize; WORDS]) {
        self.0[0].set(words[0]);
        self.0[1].set(words[1]);
        self.0[2].set(words[2]);
        self.0[3].set(words[3]);
        self.0[4].set(words[4]);
    }
}

impl Slot for WordSlot {
    type Value = [usize; WORDS];
    type Removed = ();

    fn vacant() -> Self {
        Self(Word::array(0))
    }

    #[inline(always)]
    unsafe fn write(&self, words: [usize; WORDS]) {
        self.set_words(words);
    }

    #[inline(always)]
    unsafe fn take(&self) {}

    #[inline(always)]
    unsafe fn move_from(&self, from: &Self) {
        self.set_words(from.words());
    }
}
