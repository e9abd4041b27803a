//! Code: bytes that have been written as data and are to be executed.
//!
//! Instruction fetches see it once it has been written back from the data cache
//! ([`Machine::clean_code`]) and every hart fetches anew ([`Machine::sync_icache`]). The address
//! space does both
//!
//! - when executable pages are mapped that have their frames at once;
//! - in [`protect`](AddrSpace::protect), after the TLBs are flushed: pages that have lost the right
//!   to write no longer change then;
//! - for a lazy page, before the page fault maps it: other harts may execute the page as soon
//!   as it is mapped, because a page fault does not keep them away;
//! - for what [`write`](AddrSpace::write) puts into executable pages.
//!
//! A user program may write code itself, into pages that it may both write and execute. The address
//! space does not see these writes. After them the instruction caches must be synchronized with
//! [`sync_icache`](AddrSpace::sync_icache).

use core::ops::ControlFlow;

use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr, VirtAddrRange};

use super::space::AddrSpace;
use crate::addr::as_span;
use crate::machine::Machine;
use crate::page_table::Visited;

impl<M: Machine> AddrSpace<M> {
    /// Makes instruction fetches of every hart see what the caller has written to `size`
    /// bytes from `start` on, or knows to have been written. Pages that are not mapped are
    /// passed over.
    pub fn sync_icache(&self, start: VirtAddr, size: usize) {
        if M::needs_cleaning() {
            let end = start.as_usize().saturating_add(size);
            let pages = start.align_down_4k().as_usize()..end;
            pages
                .step_by(PAGE_SIZE_4K)
                .for_each(|page| self.clean_page(page.into()));
        }
        M::sync_icache();
    }

    /// Cleans the small page at `vaddr`, if it is mapped. It stays mapped meanwhile.
    fn clean_page(&self, vaddr: VirtAddr) {
        if let Ok(_slot) = self.fault_slot(vaddr)
            && let Some(page) = self.table().query(vaddr)
        {
            let offset = vaddr.as_usize() - page.vaddr.as_usize();
            M::clean_code(page.paddr + offset, PAGE_SIZE_4K);
        }
    }

    /// Does what [`sync_icache`](Self::sync_icache) does, for a range in which no page is unmapped
    /// meanwhile. The caller has locked it, or no other hart knows the address space.
    pub(super) fn sync_locked(&self, range: VirtAddrRange) {
        let pages = as_span(range);
        if M::needs_cleaning() {
            let _ = self.table().visit::<()>(pages.clone(), |seen| {
                if let Visited::Run {
                    pages: run, paddr, ..
                } = seen
                {
                    // The first page may begin in front of the range.
                    let skipped = pages.start.saturating_sub(run.start);
                    let len = run.end.min(pages.end) - run.start - skipped;
                    M::clean_code(paddr + skipped, len);
                    M::poll();
                }
                ControlFlow::Continue(())
            });
        }
        M::sync_icache();
    }
}
