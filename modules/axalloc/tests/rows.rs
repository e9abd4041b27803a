//! Rows of single frames: they go back in one piece, but each as its own owners
//! will. So do lists of rows, once they go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{FrameList, FrameRow, Frames, SharedFrames, UsageKind, add_memory, host};
use axalloc::{alloc_frame, alloc_frames, largest_free_run, usage};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
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

/// All memory, every other frame first, so that none follows the one before.
#[test]
fn a_list_may_be_all_of_memory_and_takes_none() {
    leaving_no_trace(|| {
        let kinds = UsageKind::ALL.into_iter().cycle();
        let mut frames: Vec<Frames> = kinds.map_while(|kind| alloc_frame(kind).ok()).collect();
        frames.sort_unstable_by_key(Frames::start);
        for (number, frame) in frames.iter_mut().enumerate() {
            frame.as_bytes_mut().fill(number as u8);
        }
        let (start, count) = (frames[0].start(), frames.len());
        let before = usage();
        let mut list = FrameList::new();
        for odd in [1, 0] {
            for frame in frames.extract_if(.., |frame| {
                (frame.start().as_usize() / PAGE_SIZE) % 2 == odd
            }) {
                list.push(frame.into()).unwrap();
            }
        }
        assert!(frames.is_empty());
        assert_eq!(
            (usage(), usage().free),
            (before, 0),
            "they are in use until it goes"
        );
        for number in 0..count {
            let byte = start.as_usize() + number * PAGE_SIZE + PHYS_VIRT_OFFSET + PAGE_SIZE / 2;
            let byte: *const u8 = std::ptr::with_exposed_provenance(byte);
            // SAFETY: the frame is mapped, and in this list.
            let found = unsafe { byte.read() };
            assert_eq!(found, number as u8, "nobody has written to it");
        }
    });
}

#[test]
fn what_follows_in_a_list_takes_no_word() {
    leaving_no_trace(|| {
        let start = row_of(64, UsageKind::VirtMem).into_raw();
        let other = another_owner(start);
        let mut list = FrameList::new();
        for at in 0..64 {
            // SAFETY: the frame was given away by itself, and is taken once.
            let row = unsafe { FrameRow::from_raw(start + at * PAGE_SIZE, 1) };
            list.push(row).unwrap();
        }
        drop(list);
        assert_eq!(usage().of(UsageKind::VirtMem), 1);
        assert_eq!(other.references(), 1);
    });
}

#[test]
fn behind_a_row_whose_first_frame_others_have_comes_none() {
    leaving_no_trace(|| {
        let [first, second, third] = [4, 5, 6].map(|count| row_of(count, UsageKind::VirtMem));
        let (other, inside) = (second.start(), third.start() + PAGE_SIZE);
        let (other, inside) = (another_owner(other), another_owner(inside));
        let mut list = FrameList::new();
        // The other way round, so that none follows.
        list.push(third).unwrap();
        list.push(second).unwrap();
        let first = list.push(first).unwrap_err();
        assert_eq!((first.count(), usage().of(UsageKind::VirtMem)), (4, 15));
        drop(list);
        assert_eq!(usage().of(UsageKind::VirtMem), 4 + 2);
        assert_eq!((other.references(), inside.references()), (1, 1));
        FrameList::new().push(first).unwrap();
    });
}

/// Once the other owner has gone, its word is free for it.
#[test]
fn a_row_is_in_the_way_as_long_as_others_have_it() {
    leaving_no_trace(|| {
        let [first, second] = [1, 1].map(|count| row_of(count, UsageKind::VirtMem));
        let (first, second) = match first.start() < second.start() {
            true => (first, second),
            false => (second, first),
        };
        let other = another_owner(second.start());
        let mut list = FrameList::new();
        list.push(second).unwrap();
        let first = list.push(first).unwrap_err();
        drop(other);
        list.push(first).unwrap();
        assert_eq!(usage().of(UsageKind::VirtMem), 2);
    });
}

/// Debug builds name it, and all others give nothing.
#[test]
fn a_frame_that_is_in_a_list_is_nobody_elses() {
    leaving_no_trace(|| {
        let [first, second] = [3, 3].map(|count| row_of(count, UsageKind::PageTable));
        let mut list = FrameList::new();
        let start = first.start().max(second.start());
        match first.start() < second.start() {
            true => list.push(second).and_then(|()| list.push(first)).unwrap(),
            false => list.push(first).and_then(|()| list.push(second)).unwrap(),
        }
        let before = usage();
        // SAFETY: that it is in the list already is the mistake, which is caught.
        let twice = || drop(unsafe { FrameRow::from_raw(start, 1) });
        let result = catch_unwind(AssertUnwindSafe(twice));
        assert_eq!(result.is_err(), cfg!(debug_assertions));
        assert_eq!(usage(), before);
    });
}
