//! Fault injection: each allocation of an operation fails in turn, and the
//! operation leaves no trace.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use axalloc::fault::{FailingHeap, fail_nth};
use axalloc::{AxError, AxResult, Frames, UsageKind};
use axalloc::{add_memory, alloc_frame, alloc_frame_zeroed, alloc_frames, host, usage};
use axconfig::PAGE_SIZE;

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// One test at a time, so that usage is its own doing.
fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(1 << 30, 4 << 20).unwrap();
        // SAFETY: it is mapped for good, and for nothing else.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    alone
}

/// Whether the heap gives a block.
fn heap_gives() -> bool {
    Vec::<u8>::new().try_reserve_exact(100).is_ok()
}

/// Something of three runs and a list, all of which it has, or none.
struct Thing {
    list: Vec<Frames>,
}

/// How many allocations a thing takes.
const STEPS: usize = 4;

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
fn each_allocation_of_an_operation_fails_in_turn_and_leaves_no_trace() {
    let _alone = alone();
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
            "the {n}th was passed over"
        );
        assert_eq!(usage(), before, "after the {n}th failed");
        failed += 1;
    }
    assert_eq!(failed, STEPS);
    assert_eq!(usage(), before);
}

#[test]
fn only_the_nth_frame_fails() {
    let _alone = alone();
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
fn only_the_nth_block_fails() {
    let _alone = alone();
    for n in 1..6 {
        let armed = fail_nth(n);
        let given: [bool; 8] = core::array::from_fn(|_| heap_gives());
        assert!(armed.has_fired());
        assert_eq!(given, core::array::from_fn(|at| at + 1 != n));
    }
}

/// `Vec::reserve` takes its larger block by `realloc`.
#[test]
fn a_block_that_cannot_grow_keeps_what_it_holds() {
    let _alone = alone();
    let mut list = vec![1, 2, 3];
    let armed = fail_nth(1);
    let grown = list.try_reserve(1000);
    assert!(armed.has_fired() && grown.is_err());
    assert_eq!(list, [1, 2, 3]);
    assert!(list.try_reserve(1000).is_ok());
}

/// What is refused for what was asked counts for nothing.
#[test]
fn a_wrong_request_is_not_counted() {
    let _alone = alone();
    let armed = fail_nth(1);
    for (count, align) in [(0, PAGE_SIZE), (1, 3 * PAGE_SIZE), (1, 8)] {
        let wrong = alloc_frames(count, align, UsageKind::Global);
        assert!(matches!(wrong, Err(AxError::InvalidInput)));
    }
    let refused = alloc_frame(UsageKind::Global).is_err();
    assert!(armed.has_fired() && refused);
}

#[test]
fn it_ends_with_its_scope() {
    let _alone = alone();
    drop(fail_nth(1));
    assert!(alloc_frame(UsageKind::Global).is_ok());
    assert!(!fail_nth(1).has_fired());
    assert!(heap_gives());
    // The later one counts.
    let first = fail_nth(1);
    let second = fail_nth(2);
    let given = [heap_gives(), heap_gives(), heap_gives()];
    assert!(second.has_fired() && first.has_fired());
    assert_eq!(given, [true, false, true]);
}

#[test]
fn other_threads_never_see_it() {
    let _alone = alone();
    // The thread is there before the switch is thrown: to start one allocates.
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(0);
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    let other = thread::spawn(move || {
        asked.recv().unwrap();
        let fine = (0..100).all(|_| heap_gives() && alloc_frame(UsageKind::Global).is_ok());
        answer.send(fine).unwrap();
    });
    ask.send(()).unwrap();
    let armed = fail_nth(1);
    // It may or may not be under way by now, and counts none of it here.
    let fine = loop {
        if let Ok(fine) = answered.try_recv() {
            break fine;
        }
        thread::yield_now();
    };
    let refused = alloc_frame(UsageKind::Global).is_err();
    assert!(armed.has_fired() && refused && fine);
    other.join().unwrap();
}
