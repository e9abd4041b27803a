//! What an area's backend has to offer.

use memory_addr::MemoryAddr;

use crate::node::slot::{Slot, WORDS, WordSlot};

/// How the memory of an area is mapped: the operations on the page table behind the area.
///
/// Areas may have different backends. For instance, the backend of a linear mapping maps all pages
/// at once, and that of a lazy mapping waits for page faults. When an area is split, both parts get
/// a clone of its backend. So a backend must not depend on where its area starts.
///
/// Each operation returns whether it succeeded. One that fails should leave the page table as it
/// was, because the set keeps the area as it was.
pub trait MappingBackend: Clone {
    /// The type of addresses.
    type Addr: MemoryAddr;
    /// The type of flags: the access rights and whatever else the page table knows of a page.
    type Flags: Copy;
    /// The type of page tables.
    type PageTable;

    /// Maps `size` bytes from `start` on, with the flags `flags`.
    fn map(
        &self,
        start: Self::Addr,
        size: usize,
        flags: Self::Flags,
        page_table: &mut Self::PageTable,
    ) -> bool;

    /// Unmaps `size` bytes from `start` on.
    fn unmap(&self, start: Self::Addr, size: usize, page_table: &mut Self::PageTable) -> bool;

    /// Gives `size` bytes from `start` on the flags `new_flags`.
    fn protect(
        &self,
        start: Self::Addr,
        size: usize,
        new_flags: Self::Flags,
        page_table: &mut Self::PageTable,
    ) -> bool;
}

/// What a [`MemorySet`](crate::MemorySet) has to know of a backend.
///
/// Each [`MappingBackend`] implements this trait, with an [`OwnedSlot`](crate::OwnedSlot). A
/// backend of plain words, whose areas other threads look up without a lock, implements it with
/// `type Slot = WordSlot`. It then also implements [`WordBackend`].
pub trait AreaBackend: Clone {
    /// The type of addresses.
    type Addr: MemoryAddr;
    /// The type of flags.
    type Flags: Copy;
    /// The type of slot that holds the flags and the backend: [`WordSlot`], or the
    /// [`OwnedSlot`](crate::OwnedSlot) of a [`MappingBackend`].
    #[allow(private_bounds)]
    type Slot: Slot;
}

/// The words in which a [`WordBackend`] is stored.
pub type BackendWords = [usize; WORDS - 1];

/// A backend of plain words, whose areas other threads may look up while one thread changes the
/// set ([`SharedMemorySet::peek`](crate::SharedMemorySet::peek)).
///
/// A lookup copies an area word by word, and checks afterwards that no word was written
/// meanwhile. So the backend cannot own anything. A backend that refers to a counted object stores
/// the object's number. Its user takes a reference to the object under a lock that keeps the area
/// from being removed.
///
/// Neighbours are merged if their flags and backends are the same words. So a backend must not
/// depend on where its area starts.
///
/// The trait requires `Copy`, so a type that owns something cannot implement it:
///
/// ```compile_fail,E0204
/// #[derive(Clone, Copy)]
/// struct Owner(std::sync::Arc<()>);
/// ```
///
/// A set is `Send` only if its backend is:
///
/// ```compile_fail,E0277
/// use memory_set::{AreaBackend, BackendWords, MemorySet, WordBackend, WordSlot};
///
/// #[derive(Clone, Copy)]
/// struct Local(*const u8);
///
/// impl AreaBackend for Local {
///     type Addr = usize;
///     type Flags = u8;
///     type Slot = WordSlot;
/// }
///
/// impl WordBackend for Local {
///     fn flags_to_word(flags: u8) -> usize {
///         flags.into()
///     }
///     fn flags_from_word(word: usize) -> u8 {
///         word as u8
///     }
///     fn to_words(self) -> BackendWords {
///         [self.0.expose_provenance(), 0, 0, 0]
///     }
///     unsafe fn from_words([address, ..]: BackendWords) -> Self {
///         Self(std::ptr::with_exposed_provenance(address))
///     }
/// }
///
/// fn send<T: Send>(_: T) {}
/// send(MemorySet::<Local>::new());
/// ```
pub trait WordBackend: AreaBackend<Slot = WordSlot> + Copy {
    /// Returns the flags as a word.
    fn flags_to_word(flags: Self::Flags) -> usize;

    /// Returns the flags that [`flags_to_word`](Self::flags_to_word) turned into `word`.
    fn flags_from_word(word: usize) -> Self::Flags;

    /// Returns the backend as words.
    fn to_words(self) -> BackendWords;

    /// Returns the backend that [`to_words`](Self::to_words) turned into `words`.
    ///
    /// # Safety
    ///
    /// `to_words` of a backend of this type has returned `words`.
    unsafe fn from_words(words: BackendWords) -> Self;
}
