//! Threads that perform random operations in one address space at the same time.
//!
//! Each thread has pages that only it changes. It knows what each of them must hold. All
//! threads also change the shared pages. There a read must return the page's stamp or zero.
//! After each round, all threads have ended: then each mapped page must lie in an area with
//! the same rights, and after all are unmapped no frame may be in use.

use std::alloc::System;
use std::ops::Range;
use std::thread;

use axalloc::fault::{FailingHeap, fail_from};
use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Grain, VirtAddr};
use fastrand::Rng;

mod support;

use support::threads::{HARTS, Threads, set_this_hart};
use support::{GIB, KIB4, MIB2, RO, RW, TestMachine, WRITE, alone, frames, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// The number of operations of each thread in a round, and the number of rounds. Miri takes
/// thousands of times as long.
const STEPS: usize = if cfg!(miri) { 20 } else { 60 };
const ROUNDS: usize = if cfg!(miri) { 2 } else { 1000 };
/// The number of pages that belong to one thread, and of unused pages after them.
const OWN: usize = 120;
const BETWEEN: usize = 8;
/// The first shared page, after the pages of all threads, and the number of shared pages.
/// They end with the third block of 2 MiB.
const SHARED_START: usize = HARTS * (OWN + BETWEEN);
const SHARED: usize = 3 * 512 - SHARED_START;
/// An allocation fails in this many of 256 operations.
const FAILING: u8 = 41;

const GRAINS: [Grain; 4] = [
    Grain::Page,
    Grain::Around(16),
    Grain::Around(512),
    Grain::Large,
];

type Space<R> = AddrSpace<Threads<R>>;

/// Returns the address of a page. Tables of all levels end between the pages.
fn at<R: TestMachine>(page: usize) -> VirtAddr {
    virt(R::base() + GIB - MIB2 + page * KIB4)
}

/// Returns what is written to a shared page.
fn stamp(addr: VirtAddr) -> u64 {
    !(addr.as_usize() as u64)
}

/// A page that belongs to a thread: whether it is writable, and what it holds. `None` if it
/// is not mapped.
type OwnPage = Option<(bool, u64)>;

/// A thread, which is a hart.
struct Thread<'a, R: TestMachine> {
    space: &'a Space<R>,
    rng: Rng,
    /// The number of the first page that belongs to the thread.
    first: usize,
    own: Vec<OwnPage>,
}

impl<'a, R: TestMachine> Thread<'a, R> {
    fn new(space: &'a Space<R>, hart: usize) -> Self {
        Self {
            space,
            rng: Rng::with_seed(hart as u64),
            first: hart * (OWN + BETWEEN),
            own: vec![None; OWN],
        }
    }

    /// Performs one round of random operations.
    fn work(&mut self) {
        for _ in 0..STEPS {
            match self.rng.usize(..2) {
                0 => self.use_own_pages(),
                _ => self.use_shared_pages(),
            }
        }
    }

    /// Unmaps the thread's own pages, and its part of the shared ones.
    fn unmap_all(&mut self) {
        self.own.fill(None);
        let all = self.first..self.first + OWN + BETWEEN;
        let end = SHARED_START + SHARED;
        let parts = (SHARED_START + self.first..end).step_by(SHARED_START);
        for start in parts.chain([all.start]) {
            let size = all.len().min(end - start) * KIB4;
            assert_eq!(self.space.unmap(at::<R>(start), size), Ok(()));
        }
    }

    /// Returns a random range of up to `count` pages.
    fn any_range(&mut self, count: usize) -> Range<usize> {
        let len = match self.rng.usize(..8) {
            0 => count,
            n => 1 + self.rng.usize(..(count - 1) >> (n / 2)),
        };
        let start = self.rng.usize(..=count - len);
        start..start + len
    }

    /// Performs `operation`, sometimes with too little memory. Returns whether there was
    /// enough.
    fn perform(&mut self, operation: impl FnOnce(&Space<R>) -> AxResult) -> AxResult<bool> {
        if self.rng.u8(..) >= FAILING {
            return operation(self.space).map(|()| true);
        }
        let armed = fail_from(1 + self.rng.usize(..12));
        let result = operation(self.space);
        match (result, armed.has_fired()) {
            (Err(AxError::NoMemory), true) => Ok(false),
            (result, _) => result.map(|()| true),
        }
    }

    fn map(&mut self, pages: Range<usize>) -> AxResult<bool> {
        let (start, size) = (at::<R>(pages.start), pages.len() * KIB4);
        let grain = GRAINS[self.rng.usize(..GRAINS.len())];
        let populate = self.rng.bool() && pages.len() < 64;
        self.perform(|space| space.map_alloc_with(start, size, RW, populate, grain))
    }

    fn unmap(&mut self, pages: Range<usize>) -> AxResult<bool> {
        let (start, size) = (at::<R>(pages.start), pages.len() * KIB4);
        self.perform(|space| space.unmap(start, size))
    }

    fn protect(&mut self, pages: Range<usize>, write: bool) -> AxResult<bool> {
        let (start, size) = (at::<R>(pages.start), pages.len() * KIB4);
        let rights = if write { RW } else { RO };
        self.perform(|space| space.protect(start, size, rights))
    }

    /// Performs a random operation on some of the thread's own pages.
    fn use_own_pages(&mut self) {
        let inside = self.any_range(OWN);
        match self.rng.usize(..8) {
            0 | 1 => self.map_own(inside),
            2 => {
                if self.unmap(self.own_pages(&inside)) == Ok(true) {
                    self.own[inside].fill(None);
                }
            }
            3 => self.protect_own(inside),
            4 => self.touch_own(inside.start),
            _ => self.access_own(inside.start),
        }
    }

    /// Returns the numbers of own pages in the address space.
    fn own_pages(&self, inside: &Range<usize>) -> Range<usize> {
        self.first + inside.start..self.first + inside.end
    }

    fn map_own(&mut self, inside: Range<usize>) {
        let free = self.own[inside.clone()].iter().all(Option::is_none);
        match self.map(self.own_pages(&inside)) {
            Ok(true) => self.own[inside].fill(Some((true, 0))),
            Ok(false) => {}
            Err(AxError::AlreadyExists) => assert!(!free),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn protect_own(&mut self, inside: Range<usize>) {
        let write = self.rng.bool();
        let mapped = self.own[inside.clone()].iter().all(Option::is_some);
        match self.protect(self.own_pages(&inside), write) {
            Ok(true) => self.own[inside]
                .iter_mut()
                .flatten()
                .for_each(|own| own.0 = write),
            Ok(false) => {}
            Err(error) => assert_eq!((error, mapped), (AxError::NotFound, false)),
        }
    }

    fn touch_own(&mut self, page: usize) {
        let addr = at::<R>(self.first + page);
        let writable = self.own[page].is_some_and(|(write, _)| write);
        assert_eq!(self.space.handle_page_fault(addr, WRITE), writable);
        assert!(!writable || self.space.query(addr).unwrap().flags.contains(WRITE));
    }

    /// Reads or writes one of the thread's own pages.
    fn access_own(&mut self, page: usize) {
        let addr = at::<R>(self.first + page);
        let value = self.rng.u64(..);
        let writes = self.rng.bool();
        let expected = match &mut self.own[page] {
            Some((true, old)) if writes => {
                *old = value;
                Ok(())
            }
            Some((false, _)) | None if writes => Err(AxError::BadAddress),
            own => {
                let read = own.map(|(_, old)| old).ok_or(AxError::BadAddress);
                return assert_eq!(self.space.read_val::<u64>(addr), read);
            }
        };
        assert_eq!(self.space.write_val(addr, &value), expected);
    }

    /// Performs a random operation on some of the shared pages.
    fn use_shared_pages(&mut self) {
        let inside = self.any_range(SHARED);
        let pages = SHARED_START + inside.start..SHARED_START + inside.end;
        let addr = at::<R>(pages.start);
        match self.rng.usize(..10) {
            0 | 1 => assert!(!matches!(
                self.map(pages),
                Err(error) if error != AxError::AlreadyExists
            )),
            2 => assert!(self.unmap(pages).is_ok()),
            3 => {
                let write = self.rng.bool();
                let protected = self.protect(pages, write);
                assert!(!matches!(protected, Err(error) if error != AxError::NotFound));
            }
            4..7 => drop(self.space.handle_page_fault(addr, WRITE)),
            7 => drop(self.space.write_val(addr, &stamp(addr))),
            _ => {
                let value = self.space.read_val::<u64>(addr).unwrap_or(0);
                assert!(value == 0 || value == stamp(addr), "{addr:?}: {value:#x}");
            }
        }
    }
}

/// Asserts that each mapped page lies in an area with the same rights.
fn check_pages<R: TestMachine>(space: &Space<R>) {
    for page in (0..SHARED_START + SHARED).filter_map(|page| space.query(at::<R>(page))) {
        let area = space.area_at(page.vaddr);
        let area = area.unwrap_or_else(|| panic!("{page:x?} lies in no area"));
        assert!(page.vaddr.as_usize() + page.size <= area.end().as_usize());
        assert_eq!(page.flags, area.flags(), "{page:x?}");
    }
}

/// Calls `f` for all threads at the same time.
fn in_parallel<'a, R: TestMachine>(
    threads: &mut [Thread<'a, R>],
    f: impl Fn(&mut Thread<'a, R>) + Sync,
) {
    thread::scope(|scope| {
        for (hart, thread) in threads.iter_mut().enumerate() {
            let f = &f;
            scope.spawn(move || {
                set_this_hart(hart);
                f(thread);
            });
        }
    });
}

fn each_thread_finds_its_pages_as_it_left_them<R: TestMachine>() {
    let _alone = alone();
    let at_start = frames();
    let space = Space::<R>::new_empty(virt(R::base()), 2 * GIB).unwrap();
    let empty = frames();
    let mut threads: Vec<_> = (0..HARTS).map(|hart| Thread::new(&space, hart)).collect();
    for _ in 0..ROUNDS {
        in_parallel(&mut threads, Thread::work);
        check_pages(&space);
        in_parallel(&mut threads, Thread::unmap_all);
        assert_eq!(space.areas().count(), 0);
        assert_eq!(frames(), empty);
    }
    drop(space);
    assert_eq!(frames(), at_start);
}

on_every_machine!(each_thread_finds_its_pages_as_it_left_them);
