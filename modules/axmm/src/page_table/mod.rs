//! The page table: the range walker over the entry formats ([`GenericPTE`]) and
//! the metadata ([`PagingMetaData`]) of `page_table_multiarch`.
//!
//! That crate's own cursor walks from the root for every page, queues a TLB
//! flush for every fresh mapping, never gives an emptied table back, takes a
//! zero entry for a huge page on aarch64 and an entry that leads to a table for
//! an absent one on loongarch64 (version 0.6.2). This one
//!
//! - walks once for a whole range, with the largest pages that fit, and writes
//!   what lies in a row in one loop, behind one fence;
//! - leaves the table as it was when an operation fails;
//! - gives a table back when its last entry goes;
//! - tells of everything that must be forgotten before it may be used again
//!   ([`Gather`]), and of nothing else: fresh mappings need no flush.
//!
//! Many harts may work on one table at a time. An operation on a range is the only one
//! there, by its caller's promise; but two of ranges side by side meet in the tables
//! above. So an entry that is absent comes to lead to a table by compare-and-swap, and a
//! table goes back only where the caller is [alone](Gather::alone) in all that it
//! translates. Page faults ([`map_page`](PageTable::map_page),
//! [`map_new`](PageTable::map_new)) may bring pages of one range at the same time: they
//! only ever fill entries that are absent, and the first one's page stays.
//!
//! An entry of all zeroes is absent, whatever the format says of it. A page with
//! no rights keeps its frame in an entry that the hardware takes for absent.

mod change;
mod entry;
pub mod frames;
mod kernel_half;
mod split;
mod visit;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingHandler, PagingMetaData};
use spin::Once;

use entry::{Slot, absent, read, readable};

pub use visit::{MOST_LEVELS, Reached, Resident, Seen};

/// Bits of an address that one level of the table resolves.
const LEVEL_BITS: usize = 9;
const ENTRIES: usize = 1 << LEVEL_BITS;

/// The largest page an entry of a level above it may be: 1 GiB.
const LARGEST_PAGE: usize = 1 << 30;

/// A mapped page, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    /// Its first address.
    pub vaddr: VirtAddr,
    /// Its first frame.
    pub paddr: PhysAddr,
    /// Its bytes: 4 KiB, 2 MiB or 1 GiB.
    pub size: usize,
    /// Its rights; none at all for a page that may not be accessed now.
    pub flags: MappingFlags,
}

/// Takes what an operation has changed or detached, and must make every hart
/// forget it before it is used again, or relied on.
pub trait Gather {
    /// Pages in a row are no longer mapped. The first had `frame`, the others the
    /// frames behind it.
    fn pages(&mut self, pages: Range<usize>, frame: PhysAddr);

    /// Some pages of a range have other rights than before. It lies in one table.
    fn changed(&mut self, pages: Range<usize>);

    /// The table in `frame` is no longer part of the page table.
    fn table(&mut self, frame: PhysAddr);

    /// Pages that are absent now are about to be there in another way: as a table of
    /// smaller ones, or as another kind of memory. Every hart must have forgotten them when
    /// this returns (Arm Architecture Reference Manual, D8.16.1 "break-before-make").
    fn forget_now(&mut self, pages: Range<usize>);

    /// While it exists, no page fault of an interrupt handler changes the page table.
    type Alone;

    /// `Some` if this operation alone maps and unmaps from `first` to `last`, so that an
    /// empty table that translates nothing else may be freed.
    fn alone(&self, first: usize, last: usize) -> Option<Self::Alone>;

    /// Keeps out page faults of interrupt handlers.
    fn undisturbed(&self) -> Self::Alone;
}

/// Where the frames of a mapping come from.
pub trait Source {
    /// Whether there may be a page of `size` bytes at `vaddr`, and so at each
    /// multiple of `size` behind it; otherwise smaller ones are asked for.
    fn fits(&mut self, vaddr: usize, size: usize) -> bool;

    /// Frames for at most `count` pages of `size` bytes from `vaddr` on: the
    /// address of the first, which the others follow in a row, and how many they
    /// are, at least one.
    ///
    /// # Errors
    ///
    /// The mapping's.
    fn frames(&mut self, vaddr: usize, size: usize, count: usize) -> AxResult<(PhysAddr, usize)>;
}

/// What becomes of pages that are [protected](PageTable::protect_whole).
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The rights that they get.
    pub flags: MappingFlags,
    /// Whether some may be another kind of memory by then. Those are absent, and forgotten,
    /// before.
    pub may_break: bool,
}

#[cfg(test)]
impl Change {
    /// Of rights alone.
    fn of(flags: MappingFlags) -> Self {
        Self {
            flags,
            may_break: false,
        }
    }
}

/// What of a root stays as it is, so that others may have its entries.
struct Shared {
    /// Addresses for which the tables right below the root stay when empty.
    kept: Range<usize>,
    /// Addresses below those of which the root's entries stay as they are, and may be
    /// anything but absent.
    settled: Range<usize>,
}

/// A page table. `H` finds memory for it, full of zeroes, and reaches it.
pub struct PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    root: PhysAddr,
    largest: usize,
    /// What the entry of every page has beside address and rights.
    mark: u64,
    /// What stays for other tables to share, once it does.
    shared: Once<Shared>,
    /// Addresses for which the root's entries lead to another table's tables.
    borrowed: Range<usize>,
    /// The other table's root, if it was shared by then: all that it ever translates is
    /// translated here, too. Else 0, which is no table's.
    lender: PhysAddr,
    /// Whether another table has entries of this one's root.
    lent: AtomicBool,
    _formats: PhantomData<(M, E, H)>,
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// An empty page table, whose pages are at most `largest` bytes, and have the
    /// bits `mark` in their entries.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
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

    /// The physical address of the root.
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// The page that `vaddr` lies in; `None` if nothing is mapped there.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        let mut table = self.root;
        for level in (0..M::LEVELS).rev() {
            let size = Self::entry_size(level);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                Slot::Absent => return None,
                Slot::Table(next) => table = next,
                Slot::Page(paddr, flags) => {
                    return Some(Page {
                        vaddr: vaddr.align_down(size),
                        paddr,
                        size,
                        flags,
                    });
                }
            }
        }
        None
    }

    /// Whether pages with these flags would be different kinds of memory, as far as the
    /// format has kinds. Without rights they are of no kind.
    pub fn differ_in_kind(one: MappingFlags, other: MappingFlags) -> bool {
        let kinds = MappingFlags::DEVICE | MappingFlags::UNCACHED;
        let kind = |flags| readable::<E>(flags, 0) & kinds;
        !one.is_empty() && !other.is_empty() && kind(one) != kind(other)
    }

    /// The bytes that one entry of a level translates; 0 is the lowest.
    pub const fn entry_size(level: usize) -> usize {
        PAGE_SIZE_4K << (LEVEL_BITS * level)
    }

    /// The entry of a table that translates `vaddr`.
    #[inline(always)]
    fn entry(&self, table: PhysAddr, vaddr: VirtAddr, level: usize) -> *mut E {
        let index = vaddr.as_usize() / Self::entry_size(level) % ENTRIES;
        let entries = H::phys_to_virt(table).as_mut_ptr().cast::<E>();
        // SAFETY: a table has `ENTRIES` entries, and `H` says where it is.
        unsafe { entries.add(index) }
    }

    fn new_table() -> AxResult<PhysAddr> {
        H::alloc_frame().ok_or(AxError::NoMemory)
    }

    /// A frame as a table without entries. It is nobody else's.
    fn cleared(frame: PhysAddr) -> PhysAddr {
        let entries = H::phys_to_virt(frame).as_mut_ptr();
        // SAFETY: the frame has just been allocated, and `H` says where it is.
        unsafe { entries.write_bytes(0, PAGE_SIZE_4K) };
        frame
    }

    /// Whether no entry of a table is in use.
    fn is_empty(table: PhysAddr) -> bool {
        let entries = H::phys_to_virt(table).as_mut_ptr().cast::<E>();
        // SAFETY: a table has `ENTRIES` entries.
        unsafe { absent(entries, ENTRIES) == ENTRIES }
    }

    fn free_tables(table: PhysAddr, level: usize) {
        if level > 0 {
            let entries = H::phys_to_virt(table).as_mut_ptr().cast::<E>();
            for index in 0..ENTRIES {
                // SAFETY: a table has `ENTRIES` entries.
                if let Slot::Table(next) = read(unsafe { entries.add(index) }, level) {
                    Self::free_tables(next, level - 1);
                }
            }
        }
        H::dealloc_frame(table);
    }
}

impl<M, E, H> Drop for PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// Frees the tables; no hart may use them any more. Pages that are still
    /// mapped are their owners' to free.
    fn drop(&mut self) {
        self.free_own_tables();
    }
}
