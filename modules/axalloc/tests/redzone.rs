//! What debug builds check of frames: freed frames are filled with junk, and an address that
//! is turned back twice is detected.
#![cfg(debug_assertions)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{SharedFrames, UsageKind, add_memory, alloc_frames, host};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use memory_addr::PhysAddr;

/// Lets one test run at a time, so that no other allocates the frames that were freed.
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

/// Returns the message that `f` panics with.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it did not panic");
    *payload.downcast::<String>().unwrap()
}

/// Returns the address of a run that was turned back and freed.
fn freed_address() -> PhysAddr {
    let run = alloc_frames(4, PAGE_SIZE, UsageKind::PageTable).unwrap();
    let start = run.into_raw();
    // SAFETY: `into_raw` has just returned this address.
    drop(unsafe { axalloc::Frames::from_raw(start) });
    start
}

#[test]
fn freed_frames_are_filled_with_junk() {
    let _guard = one_at_a_time();
    for count in [1, 3] {
        let mut run = alloc_frames(count, PAGE_SIZE, UsageKind::Global).unwrap();
        run.zero();
        let start = run.start().as_usize() + PHYS_VIRT_OFFSET;
        drop(run);
        let freed = std::ptr::with_exposed_provenance::<u8>(start);
        // SAFETY: the frame stays mapped after it was freed.
        let junk = (0..count * PAGE_SIZE).filter(|at| unsafe { freed.add(*at).read() } == 0xd5);
        assert_eq!(junk.count(), count * PAGE_SIZE);
    }
}

#[test]
fn a_run_that_is_turned_back_twice_is_detected() {
    let _guard = one_at_a_time();
    let start = freed_address();
    // SAFETY: that the address was turned back already is the mistake that is detected.
    let message = panic_of(|| drop(unsafe { axalloc::Frames::from_raw(start) }));
    let start = start.as_usize();
    assert_eq!(
        message,
        format!("the frame at {start:#x} is freed twice, or its address was never given out")
    );
}

#[test]
fn a_shared_run_that_is_turned_back_twice_is_detected() {
    let _guard = one_at_a_time();
    let start = freed_address();
    // SAFETY: that the address was turned back already is the mistake that is detected.
    let message = panic_of(|| drop(unsafe { SharedFrames::from_raw(start) }));
    assert!(message.contains("is freed twice"), "{message}");
}

#[test]
fn an_address_that_was_never_given_out_is_detected() {
    let _guard = one_at_a_time();
    let run = alloc_frames(2, PAGE_SIZE, UsageKind::Dma).unwrap();
    let inside = run.start() + PAGE_SIZE;
    for start in [run.start(), inside, PhysAddr::from_usize(64 << 30)] {
        // SAFETY: that `into_raw` did not return the address is the mistake that is detected.
        let message = panic_of(|| drop(unsafe { axalloc::Frames::from_raw(start) }));
        assert!(
            message.contains("or its address was never given out"),
            "{message}"
        );
    }
}
