//! Operations on a machine with several harts. Another hart acts at a chosen moment, in the
//! middle of an operation.

use std::alloc::System;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use axalloc::fault::{FailingHeap, fail_from};
use axerrno::AxError;
use axmm::report::listing::{Form, Listing};
use axmm::{AddrSpace, Grain, VirtAddr};

mod support;

use support::threads::{
    Threads, at_next_copy, at_next_flush, before_irqs_are_disabled, set_this_hart,
    spawn_until_it_waits,
};
use support::{
    DEVICE, GIB, KIB4, MIB2, MapPhysical, RAM, RO, RW, TestMachine, WRITE, alone, frames, phys,
    virt,
};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

type Space<R> = AddrSpace<Threads<R>>;

/// Threads that a test starts in an action, and joins at its end.
type Started = Rc<RefCell<Vec<JoinHandle<()>>>>;

fn join(threads: &Started) {
    for thread in threads.take() {
        thread.join().unwrap();
    }
}

fn space<R: TestMachine>() -> Arc<Space<R>> {
    Arc::new(Space::<R>::new_empty(virt(R::base()), 2 * GIB).unwrap())
}

/// Drops the last reference to an address space.
fn end<R: TestMachine>(space: Arc<Space<R>>) {
    drop(Arc::into_inner(space).expect("another hart still has a reference"));
}

/// Returns the address of a page.
fn page<R: TestMachine>(number: usize) -> VirtAddr {
    virt(R::base() + number * KIB4)
}

/// Returns the address of the first page, and the size of all in bytes.
fn pages<R: TestMachine>(range: Range<usize>) -> (VirtAddr, usize) {
    (page::<R>(range.start), range.len() * KIB4)
}

/// Returns a space with one area of 2 MiB whose grain is the whole block, in which only page
/// 100 is mapped.
fn sparse<R: TestMachine>() -> Arc<Space<R>> {
    let space = space::<R>();
    let grain = Grain::Around(512);
    for range in [100..101, 0..100, 101..512] {
        let (start, size) = pages::<R>(range.clone());
        space.map_alloc_with(start, size, RW, false, grain).unwrap();
        if range.start == 100 {
            assert!(space.handle_page_fault(start, WRITE));
        }
    }
    assert_eq!(space.areas().count(), 1);
    space
}

fn fault_around_maps_no_page_that_another_hart_unmaps<R: TestMachine>() {
    let _alone = alone();
    let before = frames();
    let space = sparse::<R>();
    let other = space.clone();
    at_next_flush(move || assert!(other.handle_page_fault(page::<R>(50), WRITE)));
    let (start, size) = pages::<R>(100..200);
    space.unmap(start, size).unwrap();
    let left = (100..200).filter(|number| space.query(page::<R>(*number)).is_some());
    assert_eq!(left.count(), 0);
    assert!(space.query(page::<R>(50)).is_some());
    end(space);
    assert_eq!(frames(), before);
}

fn fault_around_maps_no_writable_page_that_another_hart_protects<R: TestMachine>() {
    let _alone = alone();
    let space = sparse::<R>();
    let other = space.clone();
    at_next_flush(move || assert!(other.handle_page_fault(page::<R>(50), WRITE)));
    let (start, size) = pages::<R>(100..200);
    space.protect(start, size, RO).unwrap();
    let mapped = (100..200).filter_map(|number| space.query(page::<R>(number)));
    let writable = mapped.filter(|page| page.flags.contains(WRITE));
    assert_eq!(writable.count(), 0);
    end(space);
}

fn unmap_waits_while_another_hart_copies_from_the_page<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    space.map_alloc(base, KIB4, RW, true).unwrap();
    let threads = Started::default();
    let (other, started) = (space.clone(), threads.clone());
    at_next_copy(move || {
        let thread = spawn_until_it_waits(move || other.unmap(base, KIB4).unwrap());
        started.borrow_mut().push(thread);
    });
    assert_eq!(space.read_val::<u64>(base), Ok(0));
    join(&threads);
    end(space);
}

/// A page fault, a query, a copy and a listing wait for the hart that unmaps the page.
fn lookups_wait_while_the_range_is_locked<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    let lookups: [fn(&Space<R>, VirtAddr); 4] = [
        |space, page| assert!(!space.handle_page_fault(page, WRITE)),
        |space, page| assert!(space.query(page).is_none()),
        |space, page| assert!(space.read_val::<u64>(page).is_err()),
        |space, _| {
            let text = Listing(space, Form::Data).to_string();
            assert!(!text.contains("@map run"), "{text}");
        },
    ];
    for lookup in lookups {
        space.map_alloc(base, KIB4, RW, true).unwrap();
        let threads = Started::default();
        let (other, started) = (space.clone(), threads.clone());
        at_next_flush(move || {
            let thread = spawn_until_it_waits(move || lookup(&other, base));
            started.borrow_mut().push(thread);
        });
        space.unmap(base, KIB4).unwrap();
        join(&threads);
    }
    end(space);
}

fn a_copy_refuses_a_device_that_replaces_the_page<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let base = virt(R::base());
    space.map_alloc(base, KIB4, RW, true).unwrap();
    let registers = phys(RAM.start);
    let other = space.clone();
    before_irqs_are_disabled(move || {
        other.unmap(base, KIB4).unwrap();
        other.map_physical(base, registers, KIB4, DEVICE).unwrap();
    });
    assert_eq!(space.read_val::<u64>(base), Err(AxError::BadAddress));
    end(space);
}

fn operations_on_whole_areas_need_no_memory<R: TestMachine>() {
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
    // In some page-table formats this area is in another shard.
    space.map_alloc(start + GIB, size, RW, true).unwrap();
    let armed = fail_from(1);
    end(space);
    drop(armed);
    assert_eq!(frames(), before);
}

fn tables_are_freed_at_the_highest_addresses<R: TestMachine>() {
    let _alone = alone();
    // The last page of all is left out: its end is no address.
    let start = virt(0usize.wrapping_sub(4 * MIB2));
    let space = Space::<R>::new_empty(start, 4 * MIB2 - KIB4).unwrap();
    let before = frames();
    let last = virt(0usize.wrapping_sub(2 * KIB4));
    space.map_alloc(last, KIB4, RW, true).unwrap();
    space.unmap(last, KIB4).unwrap();
    assert_eq!(frames(), before);
}

/// While hart 0 unmaps page 0, hart 1 unmaps page 10 and leaves their common table to hart 0.
/// Hart 2 is still unmapping page 512 when hart 0 finds the table empty.
fn concurrent_unmaps_free_the_tables_that_they_share<R: TestMachine>() {
    let _alone = alone();
    let space = space::<R>();
    let before = frames();
    space.map_alloc(page::<R>(0), KIB4, RW, true).unwrap();
    space.map_alloc(page::<R>(10), KIB4, RW, false).unwrap();
    space.map_alloc(page::<R>(512), KIB4, RW, true).unwrap();
    let (second, third) = (space.clone(), space.clone());
    at_next_flush(move || {
        second.unmap(page::<R>(10), KIB4).unwrap();
        let (has_started, started) = channel();
        let (resume, resumed) = channel();
        let thread = thread::spawn(move || {
            set_this_hart(2);
            at_next_flush(move || {
                has_started.send(()).unwrap();
                resumed.recv().unwrap();
            });
            third.unmap(page::<R>(512), KIB4).unwrap();
        });
        started.recv().unwrap();
        at_next_flush(move || {
            resume.send(()).unwrap();
            thread.join().unwrap();
        });
    });
    space.unmap(page::<R>(0), KIB4).unwrap();
    assert_eq!(frames(), before);
    end(space);
}

on_every_machine!(
    fault_around_maps_no_page_that_another_hart_unmaps,
    fault_around_maps_no_writable_page_that_another_hart_protects,
    unmap_waits_while_another_hart_copies_from_the_page,
    lookups_wait_while_the_range_is_locked,
    a_copy_refuses_a_device_that_replaces_the_page,
    operations_on_whole_areas_need_no_memory,
    tables_are_freed_at_the_highest_addresses,
    concurrent_unmaps_free_the_tables_that_they_share,
);
