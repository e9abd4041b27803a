//! Harts side by side in one address space: those that meet at a moment that is
//! arranged, and threads that do as they like.

use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::mpsc::channel;
use std::thread;

use axalloc::fault::{FailingHeap, fail_from};
use axerrno::AxError;
use axmm::{AddrSpace, Grain, Machine};

mod support;

use support::{
    DEVICE, GIB, KIB4, MIB2, RAM, RO, RW, TestMachine, WRITE, alone, frames, phys, virt,
};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

const HARTS: usize = 3;

thread_local! {
    /// The hart that this thread is now.
    static HART: Cell<usize> = const { Cell::new(0) };
    /// What others do when this hart next makes harts forget something.
    static AS_IT_FORGETS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// What others do before this hart next lets interrupts out.
    static AS_IT_PINS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A machine of some harts, each a thread, or several by turns.
struct Harts<R>(PhantomData<fn() -> R>);

// SAFETY: a thread has one number at a time. Two threads that run at a time have others,
// and one that is several harts by turns comes back to each as it left it.
unsafe impl<R: TestMachine> Machine for Harts<R> {
    type Meta = R::Meta;
    type Pte = R::Pte;
    type Pin = ();

    fn largest_page() -> usize {
        R::largest_page()
    }

    fn publish_entries() {
        thread::yield_now();
    }

    fn page_mark(kernel: bool) -> u64 {
        R::page_mark(kernel)
    }

    fn forget(_: u64, _: Range<usize>) {
        thread::yield_now();
        meanwhile(AS_IT_FORGETS.take());
    }

    fn forget_here(_: Range<usize>) {}

    fn pin() {
        meanwhile(AS_IT_PINS.take());
    }

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(turn: usize) {
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

type Space<R> = AddrSpace<Harts<R>>;

fn space<R: TestMachine>() -> &'static Space<R> {
    Box::leak(Box::new(
        Space::<R>::new_empty(virt(R::base()), 2 * GIB).unwrap(),
    ))
}

/// Gives a space back that has been leaked, when no other hart is left that knows it.
fn end<R: TestMachine>(space: &'static Space<R>) {
    // SAFETY: `space` made it of a box, and its test is over.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(space).cast_mut()) });
}

fn pages(range: Range<usize>) -> (usize, usize) {
    (range.start * KIB4, range.len() * KIB4)
}

/// One area of a block of 2 MiB, of which the page 100 alone is there.
fn sparse<R: TestMachine>(grain: Grain) -> &'static Space<R> {
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
    AS_IT_FORGETS.set(Some(Box::new(|| {
        assert!(space.handle_page_fault(virt(R::base() + 50 * KIB4), WRITE));
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
    AS_IT_FORGETS.set(Some(Box::new(|| {
        assert!(space.handle_page_fault(virt(R::base() + 50 * KIB4), WRITE));
    })));
    let (start, size) = pages(100..200);
    space.protect(virt(R::base() + start), size, RO).unwrap();
    let writable = (100..200).filter_map(|page| space.query(virt(R::base() + page * KIB4)));
    let writable = writable.filter(|page| page.flags.contains(WRITE));
    assert_eq!(writable.count(), 0);
    end(space);
}

fn a_copy_does_not_take_a_device_for_memory<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    space.map_alloc(base, KIB4, RW, true).unwrap();
    let registers = phys(RAM.start);
    let exchange = move || {
        space.unmap(base, KIB4).unwrap();
        space.map_linear(base, registers, KIB4, DEVICE).unwrap();
    };
    // It first looks for an area that the buffer is in.
    AS_IT_PINS.set(Some(Box::new(move || {
        AS_IT_PINS.set(Some(Box::new(exchange)));
    })));
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
    AS_IT_FORGETS.set(Some(Box::new(move || {
        space.unmap(page(10), KIB4).unwrap();
        let (works, working) = channel();
        let (go_on, told) = channel();
        let third = thread::spawn(move || {
            HART.set(2);
            AS_IT_FORGETS.set(Some(Box::new(move || {
                works.send(()).unwrap();
                told.recv().unwrap();
            })));
            space.unmap(page(512), KIB4).unwrap();
        });
        working.recv().unwrap();
        AS_IT_FORGETS.set(Some(Box::new(move || {
            go_on.send(()).unwrap();
            third.join().unwrap();
        })));
    })));
    space.unmap(page(0), KIB4).unwrap();
    assert_eq!(frames(), before);
    end(space);
}

on_every_machine!(
    a_fault_brings_nothing_that_another_unmaps,
    a_fault_brings_nothing_that_another_protects,
    a_copy_does_not_take_a_device_for_memory,
    what_cuts_nothing_needs_no_memory,
    tables_go_at_the_top_too,
    two_that_unmap_side_by_side_leave_no_table,
);
