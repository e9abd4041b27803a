//! Copy-on-write: a page fault makes a page its address space's own again.
//!
//! A page that has no other owner any more is written in place, by the fault itself
//! ([`resolve`](super::resolve)). The fault also copies a small page, if no other hart is inside the
//! address space. Otherwise the fault slot is not enough: a shared page table translates more than
//! the faulting page, and other harts must not read the old page once the new one is written. So the
//! fault performs an operation, for which faults and operations on the same addresses wait.

use core::cell::Cell;

use axalloc::{Frames, UsageKind, alloc_frame};
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::fault::Fault;
use super::operation::{MissingShard, Operation};
use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::addr::block_around;
use crate::backing::{Backend, copy_frames};
use crate::locking::shards::Shard;
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::frames::{PageTableOf, TableFrames};
use crate::page_table::{Flusher, FoundPage, FrameOwners, Lookup, Page, SpareTables};
use crate::zero_frame::is_zero_frame;

impl<M: Machine> AddrSpace<M> {
    /// Makes an access to the page at `vaddr` possible, which this address space, or a page table on
    /// the path to it, shares with others. `range` is what the page or that table translates. Returns
    /// whether the access can be made. If not, the page has changed meanwhile, and the caller tries
    /// again.
    ///
    /// # Errors
    ///
    /// `NoMemory`. `Nested` if the caller must not wait for other harts.
    #[cold]
    #[inline(never)]
    pub(super) fn unshare(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        range: VirtAddrRange,
    ) -> Result<bool, Fault> {
        if self.must_not_wait(M::hart()) {
            return Err(Fault::Nested);
        }
        let unshare = Unshare {
            vaddr,
            access,
            done: Cell::new(false),
        };
        match self.perform(range, &unshare) {
            Ok(()) => Ok(unshare.done.get()),
            Err(AxError::NoMemory) => Err(Fault::NoMemory),
            Err(_) => Err(Fault::Nested),
        }
    }

    /// Gives this address space a copy of a page that it shares, within a page fault: if that needs
    /// no other hart, and the page is a small one without code. Returns whether it has done so. The
    /// hart holds its fault slot for the page.
    #[inline(never)]
    pub(super) fn copy_in_fault(&self, found: &FoundPage<'_>, flags: MappingFlags) -> bool {
        let page = &found.page;
        let is_code = flags.contains(MappingFlags::EXECUTE);
        let is_small = page.size == PAGE_SIZE_4K;
        if !is_small || is_code || !self.is_alone_at(page.vaddr, self.tlb_state.harts_inside()) {
            return false;
        }
        let Ok(mut frame) = alloc_frame(UsageKind::VirtMem) else {
            return false;
        };
        copy_page::<M>(page.paddr, &mut frame);
        let flush = |pages| {
            // A hart that enters from now on flushes first. `mark_stale` returns those that are inside.
            let is_alone = self.is_alone_at(page.vaddr, self.tlb_state.mark_stale());
            if is_alone {
                M::flush_local(pages);
            }
            is_alone
        };
        let copy = frame.into_raw();
        let is_replaced = self.table.replace(found, copy, flags, flush);
        let unused = match is_replaced {
            true => page.paddr,
            false => copy,
        };
        TableFrames::release_pages(unused, 1);
        M::publish_entries();
        is_replaced
    }

    /// Returns whether no other hart is in the set of those `inside` the address space, or uses a page
    /// near `vaddr` in a page fault or a copy.
    fn is_alone_at(&self, vaddr: VirtAddr, inside: u64) -> bool {
        let hart = M::hart();
        let is_unused = |shard: &Shard<M>| !shard.lock.is_slot_of_others_near(hart, vaddr);
        inside & !(1 << hart) == 0
            && (M::harts() == 1 || self.shards.at(vaddr.as_usize()).is_some_and(is_unused))
    }
}

/// Fills `frame` with the bytes of the frame `original`.
fn copy_page<M: Machine>(original: PhysAddr, frame: &mut Frames) {
    match is_zero_frame(original) {
        true => frame.zero(),
        false => copy_frames::<M>(original, frame),
    }
}

/// The operation that makes a page the address space's own. Every step can fail, so `prepare` does
/// all of them. No step changes what memory contains or what areas allow, so there is nothing to undo.
struct Unshare {
    vaddr: VirtAddr,
    access: MappingFlags,
    /// Whether the access can be made now.
    done: Cell<bool>,
}

impl<M: Machine> Operation<M> for Unshare {
    const MISSING_SHARD: MissingShard = MissingShard::Skip;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        guard.unlocked(|unlocked| {
            // The area may have changed while the fault held no lock.
            let area = unlocked.area_from(self.vaddr);
            let is_allowed = |area: &MemoryArea<Backend>| {
                let is_there = area.va_range().contains(self.vaddr);
                is_there && area.backend().owns_frames() && area.flags().contains(self.access)
            };
            match area.filter(is_allowed) {
                Some(area) => self.unshare_page(unlocked, area.flags()),
                None => Ok(()),
            }
        })
    }
}

impl Unshare {
    fn unshare_page<M: Machine>(
        &self,
        unlocked: &Unlocked<'_, '_, M>,
        flags: MappingFlags,
    ) -> AxResult {
        let table = &unlocked.space().table;
        // The addresses of which this hart's TLB may hold old translations.
        let mut stale = block_around(self.vaddr.as_usize(), PAGE_SIZE_4K);
        let found = loop {
            match table.lookup(self.vaddr) {
                Lookup::Missing => return Ok(()),
                Lookup::Shared(_) => {
                    table.open(self.vaddr, &mut SpareTables::allocate(1)?, &M::poll)?;
                    // This hart may have cached that the entry was not present, and only a flush of
                    // all addresses drops entries that lead to tables.
                    stale = ALL_ADDRESSES;
                }
                Lookup::Page(found) => break found,
            }
        };
        let page = found.page;
        if !page.flags.contains(self.access) {
            match PageTableOf::<M>::is_exclusive(&page) {
                true => _ = PageTableOf::<M>::add_write(&found),
                false => self.copy_page(unlocked, page, flags)?,
            }
        }
        M::publish_entries();
        M::flush_local(stale);
        self.done.set(true);
        Ok(())
    }

    /// Gives the address space a copy of the small page that the access needs.
    fn copy_page<M: Machine>(
        &self,
        unlocked: &Unlocked<'_, '_, M>,
        page: Page,
        flags: MappingFlags,
    ) -> AxResult {
        let vaddr = self.vaddr.align_down_4k();
        // The page is read-only, so its bytes do not change until it is replaced.
        let original = page.paddr + (vaddr - page.vaddr);
        let mut frame = alloc_frame(UsageKind::VirtMem)?;
        copy_page::<M>(original, &mut frame);
        let mut gather = unlocked.gather();
        let table = &unlocked.space().table;
        let pages = block_around(vaddr.as_usize(), PAGE_SIZE_4K);
        let split = match page.size {
            PAGE_SIZE_4K => Ok(()),
            _ => table.split_edges(&pages, &mut gather),
        };
        // All of the page is locked, so it is there.
        if split.is_ok()
            && let Lookup::Page(found) = table.lookup(vaddr)
        {
            if flags.contains(MappingFlags::EXECUTE) {
                M::clean_code(frame.start(), PAGE_SIZE_4K);
            }
            let flush = |pages| {
                gather.flush_now(pages);
                true
            };
            let copy = frame.into_raw();
            let unused = match table.replace(&found, copy, flags, flush) {
                true => found.page.paddr,
                false => copy,
            };
            TableFrames::release_pages(unused, 1);
            if flags.contains(MappingFlags::EXECUTE) {
                M::sync_icache();
            }
        }
        gather.finish();
        split
    }
}
