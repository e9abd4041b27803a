//! Rows of single frames: they go back in one piece, but each as its own owners
//! will.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{FrameRow, Frames, SharedFrames, UsageKind, add_memory, host};
use axalloc::{alloc_frame, alloc_frames, largest_free_run, usage};
use axconfig::PAGE_SIZE;
use memory_addr::PhysAddr;

mod support;

use support::Numbers;

/// One test at a time, which must leave all memory free.
fn leaving_no_trace(test: impl FnOnce()) {
    let _alone = alone();
    let before = (usage(), largest_free_run());
    test();
    assert_eq!((usage(), largest_free_run()), before);
}

fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        // Around the end of a GiB, where another array of words begins.
        let memory = host::physical_memory((1 << 30) - (4 << 20), 8 << 20).unwrap();
        // SAFETY: it is mapped for good, and for nothing else.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    alone
}

fn row_of(count: usize, kind: UsageKind) -> FrameRow {
    alloc_frames(count, PAGE_SIZE, kind).unwrap().into()
}

/// One more owner of a frame in other hands.
fn another_owner(frame: PhysAddr) -> SharedFrames {
    // SAFETY: a frame of a row was given away by itself; the part goes back below.
    let owner = unsafe { SharedFrames::from_raw(frame) };
    let other = owner.share().unwrap();
    owner.into_raw();
    other
}

#[test]
fn a_row_is_its_frames() {
    leaving_no_trace(|| {
        let mut row = row_of(5, UsageKind::VirtMem);
        let start = row.start();
        assert_eq!((row.count(), usage().of(UsageKind::VirtMem)), (5, 5));
        // SAFETY: the row is given away first, and each frame is taken back once.
        unsafe {
            assert_eq!(row.into_raw(), start);
            let third = Frames::from_raw(start + 2 * PAGE_SIZE).unwrap();
            assert_eq!((third.count(), third.kind()), (1, UsageKind::VirtMem));
            drop(third);
            row = FrameRow::from_raw(start, 2);
            let behind = FrameRow::from_raw(start + 3 * PAGE_SIZE, 2);
            let behind = row.append(behind).unwrap_err();
            assert_eq!((row.count(), behind.count()), (2, 2));
        }
    });
}

#[test]
fn what_follows_is_joined_and_goes_back_whole() {
    leaving_no_trace(|| {
        let run = alloc_frames(512, 512 * PAGE_SIZE, UsageKind::VirtMem).unwrap();
        let (first, rest) = run.split_at(7).unwrap();
        let mut row = FrameRow::from(first);
        row.append(FrameRow::from(rest)).unwrap();
        assert_eq!(row.count(), 512);
    });
}

/// It lies in two GiB, and neighbours are of different kinds.
#[test]
fn a_row_may_be_all_of_memory() {
    leaving_no_trace(|| {
        let kinds = UsageKind::ALL.into_iter().cycle();
        let mut frames: Vec<Frames> = kinds.map_while(|kind| alloc_frame(kind).ok()).collect();
        frames.sort_unstable_by_key(Frames::start);
        let mut row: Option<FrameRow> = None;
        for frame in frames {
            match &mut row {
                Some(row) => row.append(frame.into()).unwrap(),
                None => row = Some(frame.into()),
            }
        }
        let row = row.unwrap();
        assert!(row.start().as_usize() < 1 << 30);
        assert!(row.start().as_usize() + row.count() * PAGE_SIZE > 1 << 30);
    });
}

#[test]
fn frames_that_others_have_stay() {
    leaving_no_trace(|| {
        let row = row_of(64, UsageKind::VirtMem);
        let shared = [0, 1, 17, 63].map(|index| row.start() + index * PAGE_SIZE);
        let others = shared.map(another_owner);
        drop(row);
        assert_eq!(usage().of(UsageKind::VirtMem), others.len());
        assert!(others.iter().all(|other| other.references() == 1));
    });
}

/// Debug builds name it, and all others give nothing.
#[test]
fn a_row_that_is_taken_back_twice_gives_nothing() {
    leaving_no_trace(|| {
        let row = row_of(8, UsageKind::VirtMem);
        let start = row.start();
        drop(row);
        let before = usage();
        // SAFETY: that it was taken back already is the mistake, which is caught.
        let twice = || drop(unsafe { FrameRow::from_raw(start, 8) });
        let result = catch_unwind(AssertUnwindSafe(twice));
        assert_eq!(result.is_err(), cfg!(debug_assertions));
        assert_eq!(usage(), before);
    });
}

/// Rows of any lengths, of which any frames have more owners, in any parts.
#[test]
fn each_frame_goes_with_its_last_owner() {
    let mut numbers = Numbers::from_seed(7);
    for _ in 0..300 {
        leaving_no_trace(|| {
            let kind = UsageKind::ALL[numbers.below(UsageKind::COUNT)];
            let idle = usage().of(kind);
            let count = 1 + numbers.below(700);
            let start = row_of(count, kind).into_raw();
            let others: Vec<_> = (0..numbers.below(20))
                .map(|_| another_owner(start + numbers.below(count) * PAGE_SIZE))
                .collect();
            let mut at = 0;
            while at < count {
                let part = 1 + numbers.below(count - at);
                // SAFETY: each frame was given away by itself, and is taken once.
                drop(unsafe { FrameRow::from_raw(start + at * PAGE_SIZE, part) });
                at += part;
            }
            let mut left: Vec<_> = others.iter().map(SharedFrames::start).collect();
            left.sort_unstable();
            left.dedup();
            assert_eq!(usage().of(kind) - idle, left.len());
        });
    }
}
