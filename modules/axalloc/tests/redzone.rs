//! What debug builds do about frames: what is freed is filled with junk, and what
//! is taken back twice is named.
#![cfg(debug_assertions)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{SharedFrames, UsageKind, add_memory, alloc_frames, host};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use memory_addr::PhysAddr;

/// One test at a time, so that nobody else takes what has been freed.
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

/// What `f` panics with.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("nobody minds");
    *payload.downcast::<String>().unwrap()
}

/// A run that was given away and taken back.
fn taken_back() -> PhysAddr {
    let run = alloc_frames(4, PAGE_SIZE, UsageKind::PageTable).unwrap();
    let start = run.into_raw();
    // SAFETY: it has just been given away.
    drop(unsafe { axalloc::Frames::from_raw(start) });
    start
}

#[test]
fn freed_frames_are_junk() {
    let _alone = alone();
    for count in [1, 3] {
        let mut run = alloc_frames(count, PAGE_SIZE, UsageKind::Global).unwrap();
        run.zero();
        let start = run.start().as_usize() + PHYS_VIRT_OFFSET;
        drop(run);
        let freed = std::ptr::with_exposed_provenance::<u8>(start);
        // SAFETY: it is mapped for good.
        let junk = (0..count * PAGE_SIZE).filter(|at| unsafe { freed.add(*at).read() } == 0xd5);
        assert_eq!(junk.count(), count * PAGE_SIZE);
    }
}

#[test]
fn a_run_taken_back_twice_is_named() {
    let _alone = alone();
    let start = taken_back();
    // SAFETY: that it was taken back already is the mistake, which is caught.
    let message = panic_of(|| drop(unsafe { axalloc::Frames::from_raw(start) }));
    let start = start.as_usize();
    assert_eq!(
        message,
        format!("the frame at {start:#x} is freed twice, or is nobody's")
    );
}

#[test]
fn a_shared_run_taken_back_twice_is_named() {
    let _alone = alone();
    let start = taken_back();
    // SAFETY: that it was taken back already is the mistake, which is caught.
    let message = panic_of(|| drop(unsafe { SharedFrames::from_raw(start) }));
    assert!(message.contains("is freed twice"), "{message}");
}

#[test]
fn frames_that_nobody_gave_away_are_named() {
    let _alone = alone();
    let run = alloc_frames(2, PAGE_SIZE, UsageKind::Dma).unwrap();
    let inside = run.start() + PAGE_SIZE;
    for start in [run.start(), inside, PhysAddr::from_usize(64 << 30)] {
        // SAFETY: that it was not given away is the mistake, which is caught.
        let message = panic_of(|| drop(unsafe { axalloc::Frames::from_raw(start) }));
        assert!(message.contains("or is nobody's"), "{message}");
    }
}
