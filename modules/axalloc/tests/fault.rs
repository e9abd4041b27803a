//! Fault injection: each allocation of an operation fails in turn, and the operation leaves
//! everything as it was.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use axalloc::fault::{FailingHeap, fail_nth};
use axalloc::{AxError, AxResult, Frames, UsageKind};
use axalloc::{add_memory, alloc_frame, alloc_frame_zeroed, alloc_frames, host, usage};
use axconfig::PAGE_SIZE;

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// Lets one test run at a time, so that no other changes the usage.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static TURN: Mutex<()> = Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(1 << 30, 4 << 20).unwrap();
        // SAFETY: the memory stays mapped, and is used for this alone.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    guard
}

/// Returns whether the heap gives a block.
fn heap_allocates() -> bool {
    Vec::<u8>::new().try_reserve_exact(100).is_ok()
}

/// A value of three frame runs and a list. Either all four are allocated, or it is not made.
struct Thing {
    list: Vec<Frames>,
}

/// The number of allocations of [`Thing::new`].
const ALLOCATIONS: usize = 4;

impl Thing {
    fn new() -> AxResult<Self> {
        let mut list = Vec::new();
        list.try_reserve_exact(3).map_err(|_| AxError::NoMemory)?;
        list.push(alloc_frame(UsageKind::PageTable)?);
        list.push(alloc_frames(5, 2 * PAGE_SIZE, UsageKind::Dma)?);
        list.push(alloc_frame_zeroed(UsageKind::VirtMem)?);
        Ok(Self { list })
    }
}

#[test]
fn each_allocation_of_an_operation_fails_in_turn_without_a_leak() {
    let _guard = one_at_a_time();
    let before = usage();
    let mut failed = 0;
    for n in 1.. {
        let armed = fail_nth(n);
        let thing = Thing::new();
        if !armed.has_fired() {
            let thing = thing.expect("nothing failed");
            assert_eq!(thing.list.len(), 3);
            assert_eq!(usage().free, before.free - 7);
            break;
        }
        assert!(
            matches!(thing, Err(AxError::NoMemory)),
            "the {n}th allocation did not fail"
        );
        assert_eq!(usage(), before, "after the {n}th allocation failed");
        failed += 1;
    }
    assert_eq!(failed, ALLOCATIONS);
    assert_eq!(usage(), before);
}

#[test]
fn only_the_nth_allocation_of_frames_fails() {
    let _guard = one_at_a_time();
    for n in 1..6 {
        let armed = fail_nth(n);
        let failed: [bool; 8] = core::array::from_fn(|at| match at % 3 {
            0 => alloc_frame(UsageKind::Global).is_err(),
            1 => alloc_frames(1, PAGE_SIZE, UsageKind::Global).is_err(),
            _ => alloc_frames(3, PAGE_SIZE, UsageKind::Global).is_err(),
        });
        assert!(armed.has_fired());
        assert_eq!(failed, core::array::from_fn(|at| at + 1 == n));
    }
}

#[test]
fn only_the_nth_allocation_of_a_block_fails() {
    let _guard = one_at_a_time();
    for n in 1..6 {
        let armed = fail_nth(n);
        let given: [bool; 8] = core::array::from_fn(|_| heap_allocates());
        assert!(armed.has_fired());
        assert_eq!(given, core::array::from_fn(|at| at + 1 != n));
    }
}

/// `Vec::reserve` gets its larger block by `realloc`.
#[test]
fn a_block_that_cannot_grow_keeps_its_contents() {
    let _guard = one_at_a_time();
    let mut list = vec![1, 2, 3];
    let armed = fail_nth(1);
    let grown = list.try_reserve(1000);
    assert!(armed.has_fired() && grown.is_err());
    assert_eq!(list, [1, 2, 3]);
    assert!(list.try_reserve(1000).is_ok());
}

#[test]
fn an_invalid_request_is_not_counted() {
    let _guard = one_at_a_time();
    let armed = fail_nth(1);
    for (count, align) in [(0, PAGE_SIZE), (1, 3 * PAGE_SIZE), (1, 8)] {
        let wrong = alloc_frames(count, align, UsageKind::Global);
        assert!(matches!(wrong, Err(AxError::InvalidInput)));
    }
    let refused = alloc_frame(UsageKind::Global).is_err();
    assert!(armed.has_fired() && refused);
}

#[test]
fn injection_ends_when_the_handle_is_dropped() {
    let _guard = one_at_a_time();
    drop(fail_nth(1));
    assert!(alloc_frame(UsageKind::Global).is_ok());
    assert!(!fail_nth(1).has_fired());
    assert!(heap_allocates());
    // A second call replaces the first.
    let first = fail_nth(1);
    let second = fail_nth(2);
    let given = [heap_allocates(), heap_allocates(), heap_allocates()];
    assert!(second.has_fired() && first.has_fired());
    assert_eq!(given, [true, false, true]);
}

#[test]
fn allocations_of_other_threads_do_not_fail_and_are_not_counted() {
    let _guard = one_at_a_time();
    // The thread is started before the injection, because starting a thread allocates.
    let (start, started) = std::sync::mpsc::sync_channel::<()>(0);
    let (report, reported) = std::sync::mpsc::sync_channel(1);
    let other = thread::spawn(move || {
        started.recv().unwrap();
        let fine = (0..100).all(|_| heap_allocates() && alloc_frame(UsageKind::Global).is_ok());
        report.send(fine).unwrap();
    });
    start.send(()).unwrap();
    let armed = fail_nth(1);
    // The other thread may be allocating by now, which must not count here.
    let fine = loop {
        if let Ok(fine) = reported.try_recv() {
            break fine;
        }
        thread::yield_now();
    };
    let refused = alloc_frame(UsageKind::Global).is_err();
    assert!(armed.has_fired() && refused && fine);
    other.join().unwrap();
}
