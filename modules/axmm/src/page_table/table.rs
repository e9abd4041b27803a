//! The page table itself: how it is made, walked down, and freed.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};
use spin::Once;

use super::entry::{ENTRIES, Entry, EntryState, LEVEL_BITS, count_empty, read, rights_read_back};
use super::owners::FrameOwners;

/// The largest page of all machines: 1 GiB.
pub(super) const LARGEST_PAGE: usize = 1 << 30;

/// A mapped page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    /// The first virtual address.
    pub vaddr: VirtAddr,
    /// The first physical address.
    pub paddr: PhysAddr,
    /// The size in bytes: 4 KiB, 2 MiB or 1 GiB.
    pub size: usize,
    /// The rights. Empty for a page that may not be accessed now.
    pub flags: MappingFlags,
}

/// The entries of a root that no longer change, so that other roots may hold copies of them.
pub struct SharedRoot {
    /// Addresses in which mappings still change. Each of their entries in the root leads to a
    /// table that is kept, even when it is empty.
    pub kept_tables: Range<usize>,
    /// Addresses in which no mapping changes any more. Their entries in the root may lead to
    /// tables, be pages, or be empty.
    pub fixed: Range<usize>,
}

/// A page table. `H` allocates and frees the frames of tables, which are full of zeroes, and
/// translates their physical addresses.
pub struct PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    pub(super) root: PhysAddr,
    /// The size in bytes of the largest page.
    pub(super) largest: usize,
    /// The bits that the entry of every page has besides the address and the rights.
    pub(super) mark: u64,
    /// The entries of the root that other roots may copy, once
    /// [`share_root`](Self::share_root) has been called.
    pub(super) shared: Once<SharedRoot>,
    /// Addresses for which the entries of the root were copied from another root.
    pub(super) borrowed: Range<usize>,
    /// That other root, if `share_root` had been called for it when the entries were copied. Then
    /// everything that it ever translates there is translated here, too. Otherwise 0: no root is
    /// at the physical address 0.
    pub(super) lender: PhysAddr,
    /// Whether another root has copies of this root's entries.
    pub(super) lent: AtomicBool,
    _formats: PhantomData<(M, E, H)>,
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// The number of levels of tables.
    pub const LEVELS: usize = M::LEVELS;

    /// The level of the root's entries. The entries of level 0 map pages of 4 KiB.
    pub(super) const TOP: usize = M::LEVELS - 1;

    /// Returns an empty page table. Its pages are at most `largest` bytes, and have the bits
    /// `mark` in their entries.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is no frame for the root.
    #[inline(always)]
    pub fn new(largest: usize, mark: u64) -> AxResult<Self> {
        Self::new_table().map(|root| Self {
            root,
            largest: largest.min(LARGEST_PAGE),
            mark,
            shared: Once::new(),
            borrowed: 0..0,
            lender: PhysAddr::from_usize(0),
            lent: AtomicBool::new(false),
            _formats: PhantomData,
        })
    }

    /// Returns the physical address of the root.
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// Returns the page that `vaddr` lies in, or `None` if no page is mapped there. A page of a
    /// shared table cannot be written now, whatever its entry says.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        let mut table = self.root;
        let mut forbidden = MappingFlags::empty();
        for level in (0..M::LEVELS).rev() {
            let size = Self::entry_size(level);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                EntryState::Empty => return None,
                EntryState::Table(next) => table = next,
                EntryState::Shared(next) => {
                    table = next;
                    forbidden = MappingFlags::WRITE;
                }
                EntryState::Page(paddr, flags) => {
                    return Some(Page {
                        vaddr: vaddr.align_down(size),
                        paddr,
                        size,
                        flags: flags.difference(forbidden),
                    });
                }
            }
        }
        None
    }

    /// Returns whether pages with these rights would be different kinds of memory in this
    /// format: ordinary, uncached, or a device's. A page without rights is of no kind.
    pub fn differ_in_memory_kind(one: MappingFlags, other: MappingFlags) -> bool {
        let kinds = MappingFlags::DEVICE | MappingFlags::UNCACHED;
        let memory_kind = |flags| rights_read_back::<E>(flags, 0) & kinds;
        !one.is_empty() && !other.is_empty() && memory_kind(one) != memory_kind(other)
    }

    /// Returns the number of bytes that one entry of `level` translates.
    pub const fn entry_size(level: usize) -> usize {
        PAGE_SIZE_4K << (LEVEL_BITS * level)
    }

    /// Returns the entries of a table of this page table.
    #[inline(always)]
    pub(super) fn entries(&self, table: PhysAddr) -> &[Entry; ENTRIES] {
        let entries: *const [Entry; ENTRIES] = H::phys_to_virt(table).as_ptr().cast();
        // SAFETY: callers pass the root, a table to which an entry of this page table leads, or a
        // table that they have allocated for it. `H` maps each of them at this address, where all
        // accesses are atomic. A table is freed only when no other code uses it: it is not part
        // of the page table yet, the operation has locked all that it translates, or the page
        // table is dropped.
        unsafe { &*entries }
    }

    /// Returns the entry for `vaddr` in a `table` of `level`.
    #[inline(always)]
    pub(super) fn entry(&self, table: PhysAddr, vaddr: VirtAddr, level: usize) -> &Entry {
        &self.entries(table)[Self::index(vaddr.as_usize(), level)]
    }

    /// Returns the entries for the whole pages of `level` in `pages`, in a `table` that has them
    /// all.
    #[inline(always)]
    pub(super) fn entries_of(
        &self,
        table: PhysAddr,
        pages: &Range<usize>,
        level: usize,
    ) -> &[Entry] {
        let first = Self::index(pages.start, level);
        &self.entries(table)[first..][..pages.len() / Self::entry_size(level)]
    }

    /// Returns the index of the entry for `vaddr` in a table of `level`.
    #[inline(always)]
    pub(super) const fn index(vaddr: usize, level: usize) -> usize {
        vaddr / Self::entry_size(level) % ENTRIES
    }

    /// Returns an empty table: `H` allocates frames that are full of zeroes.
    pub(super) fn new_table() -> AxResult<PhysAddr> {
        H::alloc_frame().ok_or(AxError::NoMemory)
    }

    /// Returns whether all entries of a table are empty.
    pub(super) fn is_empty(&self, table: PhysAddr) -> bool {
        count_empty(self.entries(table)) == ENTRIES
    }

    /// Frees a table of `level` and all tables below it.
    pub(super) fn free_tables(&self, table: PhysAddr, level: usize) {
        if level > 0 {
            self.free_tables_below(self.entries(table), level);
        }
        H::dealloc_frame(table);
    }

    /// Frees the tables to which `entries` of `level` lead, and all tables below them. Drops this
    /// page table's share of shared tables.
    fn free_tables_below(&self, entries: &[Entry], level: usize) {
        for entry in entries {
            match read::<E>(entry, level) {
                EntryState::Table(next) => self.free_tables(next, level - 1),
                EntryState::Shared(next) => self.release_shared(next, level - 1, &|| {}),
                EntryState::Empty | EntryState::Page(..) => {}
            }
        }
    }

    /// Returns whether another root has copies of this root's entries. Then the tables to which these
    /// entries lead are never freed, because the copies are not counted. The tables below those are
    /// freed by an unmap, but not when the page table is dropped.
    pub(super) fn is_lent(&self) -> bool {
        // Relaxed: before `share_root`, entries are copied with all ranges of this page table
        // locked. A caller has locked a range, so the range lock orders it before or after the
        // copying. After `share_root`, `keeps_table` does not depend on this load.
        self.lent.load(Ordering::Relaxed)
    }

    /// Frees the tables below the root that belong to this page table only.
    fn free_own_tables(&self) {
        let index = |vaddr| Self::index(vaddr, Self::TOP);
        let borrowed = match self.borrowed.is_empty() {
            true => 0..0,
            false => index(self.borrowed.start)..index(self.borrowed.end - 1) + 1,
        };
        let entries = self.entries(self.root);
        for own in [&entries[..borrowed.start], &entries[borrowed.end..]] {
            self.free_tables_below(own, Self::TOP);
        }
    }
}

impl<M, E, H> Drop for PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Frees the tables, which no hart uses any more. The frames of pages that are still
    /// mapped belong to the owner of the page table, and are not freed here.
    fn drop(&mut self) {
        if !self.is_lent() {
            self.free_own_tables();
        }
        H::dealloc_frame(self.root);
    }
}
