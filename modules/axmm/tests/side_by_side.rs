//! Harts side by side in one address space: those that meet at a moment that is
//! arranged, and threads that do as they like.

use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use axalloc::fault::{FailingHeap, fail_from};
use axerrno::{AxError, AxResult};
use axmm::report::listing::{Form, Listing};
use axmm::{AddrSpace, Grain, Machine, VirtAddr};
use fastrand::Rng;

mod support;

use support::{
    DEVICE, GIB, KIB4, MIB2, MapPhysical, RAM, RO, RW, TestMachine, WRITE, alone, frames, phys,
    virt,
};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

const HARTS: usize = 3;

thread_local! {
    /// The hart that this thread is now.
    static HART: Cell<usize> = const { Cell::new(0) };
    /// What others do when this hart next makes harts forget something.
    static AS_IT_FORGETS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// What others do when this hart next copies bytes of a page.
    static AS_IT_COPIES: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// What others do when this hart next waits.
    static AS_IT_WAITS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// What others do before this hart next lets interrupts out.
    static AS_IT_PINS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A machine of some harts, each a thread, or several by turns.
struct Harts<R>(PhantomData<fn() -> R>);

// SAFETY: a thread has one number at a time. Two threads that run at a time have others,
// and one that is several harts by turns comes back to each as it left it.
unsafe impl<R: TestMachine> Machine for Harts<R> {
    axmm::page_tables_of!(R);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {
        thread::yield_now();
    }

    fn flush(_: u64, _: Range<usize>) {
        thread::yield_now();
        meanwhile(AS_IT_FORGETS.take());
    }

    fn flush_local(_: Range<usize>) {}

    fn disable_irqs() {
        meanwhile(AS_IT_PINS.take());
    }

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        meanwhile(AS_IT_COPIES.take());
        // SAFETY: the caller's promise; in a process all of them are mapped.
        unsafe { from.copy_to(to, len) };
        len
    }

    fn relax(turn: usize) {
        meanwhile(AS_IT_WAITS.take());
        if turn > 64 {
            thread::yield_now();
        }
    }
}

/// What another hart does in the middle of what this one does.
fn meanwhile(what: Option<Box<dyn FnOnce()>>) {
    if let Some(what) = what {
        let this = HART.replace(HART.get() + 1);
        axalloc::fault::paused(what);
        HART.set(this);
    }
}

/// Lets hart 2 do `work` in a thread. Returns once it waits.
fn waits(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let (tell, told) = channel();
    let thread = thread::spawn(move || {
        HART.set(2);
        let waits = tell.clone();
        AS_IT_WAITS.set(Some(Box::new(move || _ = waits.send(true))));
        work();
        _ = tell.send(false);
    });
    assert_eq!(told.recv(), Ok(true), "it does not wait");
    thread
}

/// Threads that a test joins at its end.
type Threads = Rc<RefCell<Vec<JoinHandle<()>>>>;

fn join(threads: Threads) {
    for thread in threads.take() {
        thread.join().unwrap();
    }
}

type Space<R> = AddrSpace<Harts<R>>;

fn space<R: TestMachine>() -> Arc<Space<R>> {
    Arc::new(Space::<R>::new_empty(virt(R::base()), 2 * GIB).unwrap())
}

/// Drops the last reference to an address space.
fn end<R: TestMachine>(space: Arc<Space<R>>) {
    drop(Arc::into_inner(space).expect("another hart still has a reference"));
}

fn pages(range: Range<usize>) -> (usize, usize) {
    (range.start * KIB4, range.len() * KIB4)
}

/// One area of a block of 2 MiB, of which the page 100 alone is there.
fn sparse<R: TestMachine>(grain: Grain) -> Arc<Space<R>> {
    let space = space::<R>();
    for range in [100..101, 0..100, 101..512] {
        let (start, size) = pages(range.clone());
        let start = virt(R::base() + start);
        space.map_alloc_with(start, size, RW, false, grain).unwrap();
        if range.start == 100 {
            assert!(space.handle_page_fault(start, WRITE));
        }
    }
    assert_eq!(space.areas().count(), 1);
    space
}

const AROUND: Grain = Grain::Around(512);

fn a_fault_brings_nothing_that_another_unmaps<R: TestMachine>() {
    let _alone = alone();
    let before = frames();
    let space = sparse::<R>(AROUND);
    let other = space.clone();
    AS_IT_FORGETS.set(Some(Box::new(move || {
        assert!(other.handle_page_fault(virt(R::base() + 50 * KIB4), WRITE));
    })));
    let (start, size) = pages(100..200);
    space.unmap(virt(R::base() + start), size).unwrap();
    let left = (100..200).filter(|page| space.query(virt(R::base() + page * KIB4)).is_some());
    assert_eq!(left.count(), 0);
    assert!(space.query(virt(R::base() + 50 * KIB4)).is_some());
    end(space);
    assert_eq!(frames(), before);
}

fn a_fault_brings_nothing_that_another_protects<R: TestMachine>() {
    let _alone = alone();
    let space = sparse::<R>(AROUND);
    let other = space.clone();
    AS_IT_FORGETS.set(Some(Box::new(move || {
        assert!(other.handle_page_fault(virt(R::base() + 50 * KIB4), WRITE));
    })));
    let (start, size) = pages(100..200);
    space.protect(virt(R::base() + start), size, RO).unwrap();
    let writable = (100..200).filter_map(|page| space.query(virt(R::base() + page * KIB4)));
    let writable = writable.filter(|page| page.flags.contains(WRITE));
    assert_eq!(writable.count(), 0);
    end(space);
}

fn a_page_stays_while_it_is_copied<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    space.map_alloc(base, KIB4, RW, true).unwrap();
    let threads = Threads::default();
    let (other, started) = (space.clone(), threads.clone());
    AS_IT_COPIES.set(Some(Box::new(move || {
        let thread = waits(move || other.unmap(base, KIB4).unwrap());
        started.borrow_mut().push(thread);
    })));
    assert_eq!(space.read_val::<u64>(base), Ok(0));
    join(threads);
    end(space);
}

/// Faults, lookups and listings of what another hart unmaps.
fn what_is_locked_is_waited_for<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    let looks: [fn(&Space<R>, VirtAddr); 4] = [
        |space, page| assert!(!space.handle_page_fault(page, WRITE)),
        |space, page| assert!(space.query(page).is_none()),
        |space, page| assert!(space.read_val::<u64>(page).is_err()),
        |space, _| {
            let text = Listing(space, Form::Data).to_string();
            assert!(!text.contains("@map run"), "{text}");
        },
    ];
    for look in looks {
        space.map_alloc(base, KIB4, RW, true).unwrap();
        let threads = Threads::default();
        let (other, started) = (space.clone(), threads.clone());
        AS_IT_FORGETS.set(Some(Box::new(move || {
            let thread = waits(move || look(&other, base));
            started.borrow_mut().push(thread);
        })));
        space.unmap(base, KIB4).unwrap();
        join(threads);
    }
    end(space);
}

fn a_copy_does_not_take_a_device_for_memory<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    space.map_alloc(base, KIB4, RW, true).unwrap();
    let registers = phys(RAM.start);
    let other = space.clone();
    let exchange = move || {
        other.unmap(base, KIB4).unwrap();
        other.map_physical(base, registers, KIB4, DEVICE).unwrap();
    };
    AS_IT_PINS.set(Some(Box::new(exchange)));
    assert_eq!(space.read_val::<u64>(base), Err(AxError::BadAddress));
    end(space);
}

fn what_cuts_nothing_needs_no_memory<R: TestMachine>() {
    let _alone = alone();
    let before = frames();
    let space = space::<R>();
    let (start, size) = (virt(R::base()), 8 * KIB4);
    space.map_alloc(start, size, RW, true).unwrap();
    let armed = fail_from(1);
    let results = (space.protect(start, size, RO), space.unmap(start, size));
    drop(armed);
    assert_eq!(results, (Ok(()), Ok(())));
    space.map_alloc(start, size, RW, true).unwrap();
    // Of some formats the space has several shards.
    space.map_alloc(start + GIB, size, RW, true).unwrap();
    let armed = fail_from(1);
    end(space);
    drop(armed);
    assert_eq!(frames(), before);
}

fn tables_go_at_the_top_too<R: TestMachine>() {
    let _alone = alone();
    // The last page has no end, and is nobody's.
    let start = virt(0usize.wrapping_sub(4 * MIB2));
    let space = Space::<R>::new_empty(start, 4 * MIB2 - KIB4).unwrap();
    let before = frames();
    let last = virt(0usize.wrapping_sub(2 * KIB4));
    space.map_alloc(last, KIB4, RW, true).unwrap();
    space.unmap(last, KIB4).unwrap();
    assert_eq!(frames(), before);
}

fn two_that_unmap_side_by_side_leave_no_table<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let before = frames();
    let page = |page: usize| virt(R::base() + page * KIB4);
    space.map_alloc(page(0), KIB4, RW, true).unwrap();
    space.map_alloc(page(10), KIB4, RW, false).unwrap();
    space.map_alloc(page(512), KIB4, RW, true).unwrap();
    // The table of the first block is left to the one hart by a second, and found empty
    // while a third works in the next block.
    let (second, third) = (space.clone(), space.clone());
    AS_IT_FORGETS.set(Some(Box::new(move || {
        second.unmap(page(10), KIB4).unwrap();
        let (works, working) = channel();
        let (go_on, told) = channel();
        let thread = thread::spawn(move || {
            HART.set(2);
            AS_IT_FORGETS.set(Some(Box::new(move || {
                works.send(()).unwrap();
                told.recv().unwrap();
            })));
            third.unmap(page(512), KIB4).unwrap();
        });
        working.recv().unwrap();
        AS_IT_FORGETS.set(Some(Box::new(move || {
            go_on.send(()).unwrap();
            thread.join().unwrap();
        })));
    })));
    space.unmap(page(0), KIB4).unwrap();
    assert_eq!(frames(), before);
    end(space);
}

/// How many operations each thread does before the whole address space is checked, and how
/// often. Miri takes thousands of times as long.
const STEPS: usize = if cfg!(miri) { 20 } else { 60 };
const ROUNDS: usize = if cfg!(miri) { 2 } else { 1000 };
/// The pages of each thread's own, and between those of two.
const OWN: usize = 120;
const BETWEEN: usize = 8;
/// Where the pages for all begin, behind the threads' own, and how many they are: to the
/// end of three blocks.
const FOR_ALL: usize = HARTS * (OWN + BETWEEN);
const ALL: usize = 3 * 512 - FOR_ALL;

const GRAINS: [Grain; 4] = [
    Grain::Page,
    Grain::Around(16),
    Grain::Around(512),
    Grain::Large,
];

/// Where the pages lie: tables of all levels end among them.
fn at<R: TestMachine>(page: usize) -> VirtAddr {
    virt(R::base() + GIB - MIB2 + page * KIB4)
}

/// What a page for all holds, if anything.
fn stamp(addr: VirtAddr) -> u64 {
    !(addr.as_usize() as u64)
}

/// A page of a thread's own: whether it may be written, and what it holds.
type Own = Option<(bool, u64)>;

/// A thread: a hart.
struct Thread<'a, R: TestMachine> {
    space: &'a Space<R>,
    rng: Rng,
    /// Where its own pages begin, and what they are.
    first: usize,
    own: Vec<Own>,
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

    fn work(&mut self) {
        for _ in 0..STEPS {
            match self.rng.usize(..2) {
                0 => self.work_on_own(),
                _ => self.work_on_all(),
            }
        }
    }

    /// Unmaps its own pages, and its part of those for all.
    fn unmap_all(&mut self) {
        self.own.fill(None);
        let all = self.first..self.first + OWN + BETWEEN;
        let parts = (FOR_ALL + self.first..FOR_ALL + ALL).step_by(FOR_ALL);
        for start in parts.chain([all.start]) {
            let size = all.len().min(FOR_ALL + ALL - start) * KIB4;
            assert_eq!(self.space.unmap(at::<R>(start), size), Ok(()));
        }
    }

    /// Some of `count` pages.
    fn some(&mut self, count: usize) -> Range<usize> {
        let len = match self.rng.usize(..8) {
            0 => count,
            n => 1 + self.rng.usize(..(count - 1) >> (n / 2)),
        };
        let start = self.rng.usize(..=count - len);
        start..start + len
    }

    /// Does `operation`, now and then with too little memory. Answers whether it was done.
    fn changes(&mut self, operation: impl FnOnce(&Space<R>) -> AxResult) -> AxResult<bool> {
        if self.rng.u8(..) > 40 {
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
        self.changes(|space| space.map_alloc_with(start, size, RW, populate, grain))
    }

    fn unmap(&mut self, pages: Range<usize>) -> AxResult<bool> {
        let (start, size) = (at::<R>(pages.start), pages.len() * KIB4);
        self.changes(|space| space.unmap(start, size))
    }

    fn protect(&mut self, pages: Range<usize>, write: bool) -> AxResult<bool> {
        let (start, size) = (at::<R>(pages.start), pages.len() * KIB4);
        let rights = if write { RW } else { RO };
        self.changes(|space| space.protect(start, size, rights))
    }

    /// Nobody else works on a thread's own pages: each is as the thread left it.
    fn work_on_own(&mut self) {
        let inside = self.some(OWN);
        let pages = self.first + inside.start..self.first + inside.end;
        match self.rng.usize(..8) {
            0 | 1 => {
                let free = self.own[inside.clone()].iter().all(Option::is_none);
                match self.map(pages) {
                    Ok(true) => self.own[inside].fill(Some((true, 0))),
                    Ok(false) => {}
                    Err(AxError::AlreadyExists) => assert!(!free),
                    Err(error) => panic!("{error:?}"),
                }
            }
            2 => {
                if self.unmap(pages) == Ok(true) {
                    self.own[inside].fill(None);
                }
            }
            3 => {
                let write = self.rng.bool();
                let there = self.own[inside.clone()].iter().all(Option::is_some);
                match self.protect(pages, write) {
                    Ok(true) => self.own[inside]
                        .iter_mut()
                        .flatten()
                        .for_each(|own| own.0 = write),
                    Ok(false) => {}
                    Err(error) => assert_eq!((error, there), (AxError::NotFound, false)),
                }
            }
            4 => self.touch_own(inside.start),
            _ => self.use_own(inside.start),
        }
    }

    fn touch_own(&mut self, page: usize) {
        let addr = at::<R>(self.first + page);
        let may = self.own[page].is_some_and(|(write, _)| write);
        assert_eq!(self.space.handle_page_fault(addr, WRITE), may);
        assert!(!may || self.space.query(addr).unwrap().flags.contains(WRITE));
    }

    fn use_own(&mut self, page: usize) {
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

    /// Others do the same there: what is read is what was written there, or nothing.
    fn work_on_all(&mut self) {
        let inside = self.some(ALL);
        let pages = FOR_ALL + inside.start..FOR_ALL + inside.end;
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

/// Every page is some area's, with its rights.
fn check_pages<R: TestMachine>(space: &Space<R>) {
    for page in (0..FOR_ALL + ALL).filter_map(|page| space.query(at::<R>(page))) {
        let area = space.area_at(page.vaddr);
        let area = area.unwrap_or_else(|| panic!("{page:x?} is no area's"));
        assert!(page.vaddr.as_usize() + page.size <= area.span().end);
        assert_eq!(page.flags, area.flags(), "{page:x?}");
    }
}

/// Calls `f` for each thread at the same time.
fn side_by_side<'a, R: TestMachine>(
    threads: &mut [Thread<'a, R>],
    f: impl Fn(&mut Thread<'a, R>) + Sync,
) {
    thread::scope(|scope| {
        for (hart, thread) in threads.iter_mut().enumerate() {
            let f = &f;
            scope.spawn(move || {
                HART.set(hart);
                f(thread);
            });
        }
    });
}

fn threads_do_as_they_like<R: TestMachine>() {
    let _alone = alone();
    let none = frames();
    let space = space::<R>();
    let before = frames();
    let mut threads: Vec<_> = (0..HARTS).map(|hart| Thread::new(&space, hart)).collect();
    for _ in 0..ROUNDS {
        side_by_side(&mut threads, Thread::work);
        check_pages(&space);
        side_by_side(&mut threads, Thread::unmap_all);
        assert_eq!(space.areas().count(), 0);
        assert_eq!(frames(), before);
    }
    end(space);
    assert_eq!(frames(), none);
}

on_every_machine!(
    threads_do_as_they_like,
    a_fault_brings_nothing_that_another_unmaps,
    a_fault_brings_nothing_that_another_protects,
    a_page_stays_while_it_is_copied,
    what_is_locked_is_waited_for,
    a_copy_does_not_take_a_device_for_memory,
    what_cuts_nothing_needs_no_memory,
    tables_go_at_the_top_too,
    two_that_unmap_side_by_side_leave_no_table,
);
