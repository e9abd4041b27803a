//! Our address space, with frames from our allocator. Each thread plays a hart.

use core::ops::Range;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use axmm::{AddrSpace, Machine, MappingFlags, ThisMachine, VirtAddrRange};

use super::{Load, PAGE, THREADS, TOUCHED};
use crate::ours::Frames;

const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// The address space: as large as a user program's.
pub(super) const ALL: Range<usize> = 1 << 40..1 << 47;
/// Where the area that all threads share begins.
const SHARED: usize = ALL.start;

std::thread_local! {
    static HART: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Makes the calling thread the hart with this number.
pub(super) fn become_hart(hart: usize) {
    HART.set(hart);
}

/// A machine whose harts are threads. It has no TLB, so nothing is flushed.
pub struct Threads;

// SAFETY: `Load::prepare` gives each thread its number before it works, and `turn_of` gives
// every thread of a turn a different one.
unsafe impl Machine for Threads {
    axmm::page_tables_of!(ThisMachine);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {}

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        THREADS
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(_: usize) {
        std::hint::spin_loop();
    }
}

/// What each thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Page faults in one area that all threads share.
    FaultsInOneArea,
    /// Page faults in an area that only this thread uses.
    FaultsInAnAreaEach,
    /// Maps this many pages at an address that the address space chooses, touches each page,
    /// and unmaps them, again and again.
    MapTouchUnmap(usize),
    /// Maps, touches and unmaps this many pages, again and again, at addresses in one shard
    /// that are 1 GiB apart for each two threads.
    MapTouchUnmapNearby(usize),
}

/// One address space that all threads share.
pub struct Ours {
    space: AddrSpace<Threads>,
    work: Work,
    /// Where each thread's own pages are.
    own: [usize; THREADS],
}

impl Ours {
    /// A new address space in which each thread does `work`. `None` without memory.
    pub fn new(work: Work) -> Option<Self> {
        Frames::new();
        become_hart(0);
        let space = AddrSpace::new_empty(ALL.start.into(), ALL.len()).ok()?;
        let limit = VirtAddrRange::new(space.base(), space.end());
        let mut own = [0; THREADS];
        for (thread, place) in own.iter_mut().enumerate() {
            become_hart(thread);
            let found = space.find_free_in_arena(TOUCHED * PAGE, limit)?;
            *place = found.as_usize();
        }
        Some(Self { space, work, own })
    }

    /// The pages on which `thread` works.
    fn pages(&self, thread: usize) -> Range<usize> {
        let start = match self.work {
            Work::FaultsInOneArea => SHARED + thread * TOUCHED * PAGE,
            Work::FaultsInAnAreaEach | Work::MapTouchUnmap(_) => self.own[thread],
            Work::MapTouchUnmapNearby(_) => SHARED + (thread << 30),
        };
        let count = match self.work {
            Work::MapTouchUnmap(pages) | Work::MapTouchUnmapNearby(pages) => pages,
            _ => TOUCHED,
        };
        start..start + count * PAGE
    }

    fn touch(&self, pages: Range<usize>) {
        for page in pages.step_by(PAGE) {
            assert!(self.touch_page(page), "{page:#x} cannot be had");
        }
    }

    /// Handles a page fault at `page`, as the trap handler would.
    pub fn touch_page(&self, page: usize) -> bool {
        self.space
            .handle_page_fault(page.into(), MappingFlags::WRITE)
    }

    fn map(&self, pages: &Range<usize>) {
        let mapped = self
            .space
            .map_alloc(pages.start.into(), pages.len(), RW, false);
        assert_eq!(mapped, Ok(()));
    }

    fn unmap(&self, pages: &Range<usize>) {
        assert_eq!(self.space.unmap(pages.start.into(), pages.len()), Ok(()));
    }
}

impl Load for Ours {
    fn prepare(&self, thread: usize) {
        become_hart(thread);
        match self.work {
            // Adjacent areas with the same rights are merged into one.
            Work::FaultsInOneArea | Work::FaultsInAnAreaEach => self.map(&self.pages(thread)),
            Work::MapTouchUnmap(_) | Work::MapTouchUnmapNearby(_) => {}
        }
    }

    fn work(&self, thread: usize) {
        let pages = self.pages(thread);
        match self.work {
            Work::FaultsInOneArea | Work::FaultsInAnAreaEach => self.touch(pages),
            Work::MapTouchUnmap(count) | Work::MapTouchUnmapNearby(count) => {
                for _ in 0..TOUCHED / count {
                    self.map(&pages);
                    self.touch(pages.clone());
                    self.unmap(&pages);
                }
            }
        }
    }

    fn finish(&self, thread: usize) {
        match self.work {
            Work::FaultsInOneArea | Work::FaultsInAnAreaEach => self.unmap(&self.pages(thread)),
            Work::MapTouchUnmap(_) | Work::MapTouchUnmapNearby(_) => {}
        }
    }
}

/// An address space for each thread: the threads share the frame allocator alone.
pub struct Apart([Ours; THREADS]);

impl Apart {
    /// Address spaces in which each thread does `work`. `None` without memory.
    pub fn new(work: Work) -> Option<Self> {
        Some(Self([Ours::new(work)?, Ours::new(work)?]))
    }
}

impl Load for Apart {
    fn prepare(&self, thread: usize) {
        self.0[thread].prepare(thread);
    }

    fn work(&self, thread: usize) {
        self.0[thread].work(thread);
    }

    fn finish(&self, thread: usize) {
        self.0[thread].finish(thread);
    }
}

/// Page faults under a lock, for comparison: other designs have such locks.
pub struct Fenced {
    ours: Ours,
    /// The bytes of addresses that share a lock.
    each: usize,
    locks: Vec<Lock>,
}

/// A spin lock in a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Lock(AtomicBool);

impl Fenced {
    /// A lock for each area. The threads share one area.
    pub fn by_area() -> Option<Self> {
        Self::new(usize::MAX)
    }

    /// A lock for each page table of the lowest level.
    pub fn by_table() -> Option<Self> {
        Self::new(2 << 20)
    }

    fn new(each: usize) -> Option<Self> {
        let ours = Ours::new(Work::FaultsInOneArea)?;
        let bytes = THREADS * TOUCHED * PAGE;
        let locks = (0..bytes.div_ceil(each)).map(|_| Lock::default()).collect();
        Some(Self { ours, each, locks })
    }
}

impl Load for Fenced {
    fn prepare(&self, thread: usize) {
        self.ours.prepare(thread);
    }

    fn work(&self, thread: usize) {
        for page in self.ours.pages(thread).step_by(PAGE) {
            let Lock(lock) = &self.locks[(page - SHARED) / self.each];
            while lock.swap(true, Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let touched = self.ours.touch_page(page);
            lock.store(false, Ordering::Release);
            assert!(touched, "{page:#x} cannot be had");
        }
    }

    fn finish(&self, thread: usize) {
        self.ours.finish(thread);
    }
}
