//! The address space: its areas and locks, its page table, and its TLB state.

use core::fmt;
use core::marker::PhantomPinned;
use core::sync::atomic::AtomicBool;

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PhysAddr, VirtAddr, VirtAddrRange};
use page_table_multiarch::PagingMetaData;

use crate::locking::shards::{Layout, Shards};
use crate::machine::{Machine, ThisMachine};
use crate::page_table::Page;
use crate::page_table::frames::PageTableOf;
use crate::tlb::state::TlbState;

/// An address space: what each of its addresses means.
///
/// An operation either does all that it was asked to, or returns an error and has changed no
/// mapping. Addresses and sizes are in bytes, and multiples of 4 KiB.
///
/// Any number of harts may call any method at the same time. Operations on ranges that do not
/// overlap run side by side. Overlapping operations are serialized in the order in which they
/// were called. Finding free addresses and mapping them are two calls. If another hart maps
/// something there in between, the second call fails with `AlreadyExists`. The caller then tries
/// again, or it holds a lock of its own around both calls.
///
/// Interrupts stay out for a bounded time, whatever the size of an operation. There are two
/// exceptions. The caller may keep interrupts out itself. And if no memory can be reserved for the
/// areas that an operation may add, the operation keeps its index lock, and interrupts out.
///
/// An interrupt handler may interrupt an operation or a page fault of its hart that has locked a
/// range or is queued for one. Then the handler must not wait for another hart, whose handler could
/// be waiting for this one. A page fault of the handler is [`Fault::Nested`](super::Fault::Nested)
/// if a hart has locked the page. It may also be `Nested` if a hart has locked another page of the
/// 2 MiB block around it. An operation of the handler fails with `ResourceBusy` if any range of its
/// shard is locked or queued, and always if it lies in several shards. Memory that handlers use
/// should be populated, so that it causes no page faults.
#[repr(C)]
pub struct AddrSpace<M: Machine = ThisMachine> {
    /// The areas and their locks. First, so that the address of the first lock is that of the
    /// address space: atomic instructions of some machines take no offset.
    pub(super) shards: Shards<M>,
    pub(super) va_range: VirtAddrRange,
    pub(super) table: PageTableOf<M>,
    /// What is mapped below this address is fixed: no operation changes it.
    pub(super) fixed_end: usize,
    /// From this address on only the owner of a mapping changes it.
    pub(super) owned_from: usize,
    pub(super) tlb_state: TlbState,
    /// Whether a memory object has ever been mapped.
    pub(super) maps_objects: AtomicBool,
    /// Objects that it maps have its address.
    _pinned: PhantomPinned,
}

/// The page table of an address space, for queries.
pub struct TableView<'a, M: Machine>(&'a AddrSpace<M>);

impl<M: Machine> TableView<'_, M> {
    /// Returns the physical address of the root.
    pub fn root(&self) -> PhysAddr {
        self.0.page_table_root()
    }

    /// Returns the page that `vaddr` lies in, if it has a frame.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        self.0.query(vaddr)
    }
}

impl<M: Machine> AddrSpace<M> {
    /// Makes an address space for the kernel over `size` bytes from `base` on, with nothing mapped.
    /// No mapping in it may be accessible to users, or writable and executable at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range is empty, not page-aligned, or overflows. `InvalidInput` also if
    /// the page table does not translate all of its addresses, or if it lies in both halves of the
    /// addresses. `NoMemory`.
    pub fn new_empty(base: VirtAddr, size: usize) -> AxResult<Self> {
        Self::new(base, size, TlbState::kernel(), |_| Ok(()))
    }

    /// Makes an address space for a user program, with nothing mapped. A mapping in it may be
    /// accessible to the user, and may be writable and executable at once.
    ///
    /// # Errors
    ///
    /// Those of [`new_empty`](Self::new_empty).
    pub fn new_empty_user(base: VirtAddr, size: usize) -> AxResult<Self> {
        Self::new(base, size, TlbState::user(), |_| Ok(()))
    }

    /// Makes an address space for a user program that sees the mappings of `other`, as
    /// [`copy_mappings_from`](Self::copy_mappings_from) does.
    ///
    /// # Errors
    ///
    /// Those of [`new_empty`](Self::new_empty) and of
    /// [`copy_mappings_from`](Self::copy_mappings_from).
    #[inline(always)]
    pub fn new_user_with(base: VirtAddr, size: usize, other: &Self) -> AxResult<Self> {
        let end = base.as_usize().saturating_add(size);
        let range = VirtAddrRange {
            start: base,
            end: end.into(),
        };
        Self::new(base, size, TlbState::user(), |table| {
            other.lend_to(table, range)
        })
    }

    /// Inlined, so that the address space is built in its final place: copying its few hundred
    /// bytes would cost more.
    #[inline(always)]
    pub(super) fn new(
        base: VirtAddr,
        size: usize,
        tlb_state: TlbState,
        prepare: impl FnOnce(&mut PageTableOf<M>) -> AxResult,
    ) -> AxResult<Self> {
        let va_range = page_aligned(base, size)?;
        // Valid addresses are contiguous in each half. So if both ends are valid and in one
        // half, all addresses between them are valid.
        let (first, last) = (base.as_usize(), va_range.end.as_usize() - 1);
        let are_valid = M::Meta::vaddr_is_valid(first) && M::Meta::vaddr_is_valid(last);
        if !are_valid || (first ^ last) >> (usize::BITS - 1) != 0 {
            return Err(AxError::InvalidInput);
        }
        let mut table =
            PageTableOf::<M>::new(M::largest_page(), M::page_mark(tlb_state.is_kernel()))?;
        prepare(&mut table)?;
        let root_entry_size = PageTableOf::<M>::entry_size(PageTableOf::<M>::LEVELS - 1);
        let layout = Layout::new(va_range, root_entry_size.ilog2())?;
        Ok(Self {
            shards: Shards::new(layout),
            va_range,
            table,
            fixed_end: 0,
            owned_from: usize::MAX,
            tlb_state,
            maps_objects: AtomicBool::new(false),
            _pinned: PhantomPinned,
        })
    }

    /// Returns the first address.
    pub fn base(&self) -> VirtAddr {
        self.va_range.start
    }

    /// Returns the end: the first address above the address space.
    pub fn end(&self) -> VirtAddr {
        self.va_range.end
    }

    /// Returns the number of bytes from [`base`](Self::base) to [`end`](Self::end).
    pub fn size(&self) -> usize {
        self.va_range.size()
    }

    /// The page table, for queries.
    pub fn page_table(&self) -> TableView<'_, M> {
        TableView(self)
    }

    /// The page table. While a caller walks it, no table on the path may be freed. So the caller
    /// holds its fault slot or a range lock for the addresses, or the index lock while no other
    /// operation has locked them.
    pub(crate) fn table(&self) -> &PageTableOf<M> {
        &self.table
    }

    /// Returns the physical address of the page table's root.
    pub fn page_table_root(&self) -> PhysAddr {
        self.table.root()
    }

    /// Which harts' TLBs may hold translations of this address space.
    pub fn tlb_state(&self) -> &TlbState {
        &self.tlb_state
    }
}

// SAFETY: the areas are `Sync`. The rest of a shard is atomic, except for the area cache of each
// hart. Only the code that holds that hart's fault slot uses the cache, and `Machine` promises
// that two harts have different numbers.
unsafe impl<M: Machine + Sync> Sync for AddrSpace<M> {}

// SAFETY: nothing in an address space refers to the hart that made it.
unsafe impl<M: Machine> Send for AddrSpace<M> {}

impl<M: Machine> Drop for AddrSpace<M> {
    /// Frees the frames that its mappings own, then the page table.
    fn drop(&mut self) {
        debug_assert!(self.tlb_state.is_kernel() || !self.tlb_state.has_harts_inside());
        self.fixed_end = 0;
        self.owned_from = usize::MAX;
        // This cannot fail: no mapping is fixed or owned any more, and an operation under way would
        // borrow `self`.
        let _ = self.clear();
    }
}

impl<M: Machine> fmt::Debug for AddrSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{:#x}..{:#x}", self.base(), self.end())?;
        for area in self.areas() {
            writeln!(
                f,
                "  {:#018x}..{:#018x} {:?} {}",
                area.start(),
                area.end(),
                area.flags(),
                area.backend().name()
            )?;
        }
        Ok(())
    }
}

/// Returns `size` bytes from `start` on.
///
/// # Errors
///
/// `InvalidInput` if the range is empty, not page-aligned, or overflows.
#[inline(always)]
pub fn page_aligned(start: VirtAddr, size: usize) -> AxResult<VirtAddrRange> {
    let end = start
        .as_usize()
        .checked_add(size)
        .map(VirtAddr::from_usize)
        .ok_or(AxError::InvalidInput)?;
    if size == 0 || !start.is_aligned_4k() || !end.is_aligned_4k() {
        return Err(AxError::InvalidInput);
    }
    Ok(VirtAddrRange { start, end })
}
