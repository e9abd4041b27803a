//! Runs of single frames are freed in one piece, except for frames that have other owners. So
//! are lists of runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{FrameList, FrameRun, Frames, SharedFrames, UsageKind, add_memory, host};
use axalloc::{alloc_frame, alloc_frames, largest_free_run, usage};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use memory_addr::PhysAddr;

mod support;

use support::Numbers;

/// Runs one test at a time, and checks that it leaves all memory free.
fn without_leak(test: impl FnOnce()) {
    let _guard = one_at_a_time();
    let before = (usage(), largest_free_run());
    test();
    assert_eq!((usage(), largest_free_run()), before);
}

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static TURN: Mutex<()> = Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        // Around the end of a GiB, where another array of metadata begins.
        let memory = host::physical_memory((1 << 30) - (4 << 20), 8 << 20).unwrap();
        // SAFETY: the memory stays mapped, and is used for this alone.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    guard
}

fn run_of(count: usize, kind: UsageKind) -> FrameRun {
    alloc_frames(count, PAGE_SIZE, kind).unwrap().into()
}

/// Adds an owner to a single frame that is owned by its address.
fn another_owner(frame: PhysAddr) -> SharedFrames {
    // SAFETY: a frame of a run is a single frame. Its reference is turned into the address
    // again below.
    let owner = unsafe { SharedFrames::from_raw(frame) };
    let other = owner.share().unwrap();
    owner.into_raw();
    other
}

#[test]
fn a_run_can_be_freed_frame_by_frame_and_in_parts() {
    without_leak(|| {
        let mut run = run_of(5, UsageKind::VirtMem);
        let start = run.start();
        assert_eq!((run.count(), usage().of(UsageKind::VirtMem)), (5, 5));
        // SAFETY: the run is turned into addresses first, and each is turned back once.
        unsafe {
            assert_eq!(run.into_raw(), start);
            let third = Frames::from_raw(start + 2 * PAGE_SIZE).unwrap();
            assert_eq!((third.count(), third.kind()), (1, UsageKind::VirtMem));
            drop(third);
            run = FrameRun::from_raw(start, 2);
            let behind = FrameRun::from_raw(start + 3 * PAGE_SIZE, 2);
            let behind = run.append(behind).unwrap_err();
            assert_eq!((run.count(), behind.count()), (2, 2));
        }
    });
}

#[test]
fn contiguous_runs_are_appended_and_freed_as_one_block() {
    without_leak(|| {
        let run = alloc_frames(512, 512 * PAGE_SIZE, UsageKind::VirtMem).unwrap();
        let (first, rest) = run.split_at(7).unwrap();
        let mut run = FrameRun::from(first);
        run.append(FrameRun::from(rest)).unwrap();
        assert_eq!(run.count(), 512);
    });
}

/// The run crosses the end of a GiB, and neighbouring frames have different kinds.
#[test]
fn a_run_may_be_all_of_memory() {
    without_leak(|| {
        let kinds = UsageKind::ALL.into_iter().cycle();
        let mut frames: Vec<Frames> = kinds.map_while(|kind| alloc_frame(kind).ok()).collect();
        frames.sort_unstable_by_key(Frames::start);
        let mut run: Option<FrameRun> = None;
        for frame in frames {
            match &mut run {
                Some(run) => run.append(frame.into()).unwrap(),
                None => run = Some(frame.into()),
            }
        }
        let run = run.unwrap();
        assert!(run.start().as_usize() < 1 << 30);
        assert!(run.start().as_usize() + run.count() * PAGE_SIZE > 1 << 30);
    });
}

#[test]
fn frames_with_other_owners_are_not_freed() {
    without_leak(|| {
        let run = run_of(64, UsageKind::VirtMem);
        let shared = [0, 1, 17, 63].map(|index| run.start() + index * PAGE_SIZE);
        let others = shared.map(another_owner);
        drop(run);
        assert_eq!(usage().of(UsageKind::VirtMem), others.len());
        assert!(others.iter().all(|other| other.references() == 1));
    });
}

/// Debug builds panic, and release builds do nothing.
#[test]
fn a_run_that_is_freed_twice_has_no_effect() {
    without_leak(|| {
        let run = run_of(8, UsageKind::VirtMem);
        let start = run.start();
        drop(run);
        let before = usage();
        // SAFETY: that the addresses were turned back already is the mistake that is detected.
        let twice = || drop(unsafe { FrameRun::from_raw(start, 8) });
        let result = catch_unwind(AssertUnwindSafe(twice));
        assert_eq!(result.is_err(), cfg!(debug_assertions));
        assert_eq!(usage(), before);
    });
}

/// Runs of random lengths are freed in random parts, while random frames have other owners.
#[test]
fn each_frame_is_freed_with_its_last_owner() {
    let mut numbers = Numbers::from_seed(7);
    for _ in 0..300 {
        without_leak(|| {
            let kind = UsageKind::ALL[numbers.below(UsageKind::COUNT)];
            let idle = usage().of(kind);
            let count = 1 + numbers.below(700);
            let start = run_of(count, kind).into_raw();
            let others: Vec<_> = (0..numbers.below(20))
                .map(|_| another_owner(start + numbers.below(count) * PAGE_SIZE))
                .collect();
            let mut at = 0;
            while at < count {
                let part = 1 + numbers.below(count - at);
                // SAFETY: each frame was turned into an address, and is turned back once.
                drop(unsafe { FrameRun::from_raw(start + at * PAGE_SIZE, part) });
                at += part;
            }
            let mut left: Vec<_> = others.iter().map(SharedFrames::start).collect();
            left.sort_unstable();
            left.dedup();
            assert_eq!(usage().of(kind) - idle, left.len());
        });
    }
}

/// Every second frame is pushed first, then the others, so that no two pushes are contiguous.
#[test]
fn a_list_of_all_memory_takes_no_memory_and_writes_to_no_frame() {
    without_leak(|| {
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
            "frames are in use until the list is dropped"
        );
        for number in 0..count {
            let byte = start.as_usize() + number * PAGE_SIZE + PHYS_VIRT_OFFSET + PAGE_SIZE / 2;
            let byte: *const u8 = std::ptr::with_exposed_provenance(byte);
            // SAFETY: the frame is mapped, and the list owns it.
            let found = unsafe { byte.read() };
            assert_eq!(found, number as u8, "the frame was not written");
        }
    });
}

#[test]
fn contiguous_pushes_become_one_run_of_a_list() {
    without_leak(|| {
        let start = run_of(64, UsageKind::VirtMem).into_raw();
        let other = another_owner(start);
        let mut list = FrameList::new();
        for at in 0..64 {
            // SAFETY: the frame was turned into an address, and is turned back once.
            let run = unsafe { FrameRun::from_raw(start + at * PAGE_SIZE, 1) };
            list.push(run).unwrap();
        }
        drop(list);
        assert_eq!(usage().of(UsageKind::VirtMem), 1);
        assert_eq!(other.references(), 1);
    });
}

#[test]
fn an_empty_run_in_a_list_hides_no_other() {
    without_leak(|| {
        let run = run_of(5, UsageKind::VirtMem);
        let elsewhere = run.start() + 99 * PAGE_SIZE;
        let mut list = FrameList::new();
        for run in [None, Some(run), None] {
            // SAFETY: a run of no frames owns nothing.
            let empty = || unsafe { FrameRun::from_raw(elsewhere, 0) };
            list.push(run.unwrap_or_else(empty)).unwrap();
        }
        assert_eq!(list.pop(9).map(|run| run.count()), Some(5));
        assert!(list.pop(9).is_none());
    });
}

#[test]
fn no_run_can_follow_one_whose_first_frame_is_shared() {
    without_leak(|| {
        let [first, second, third] = [4, 5, 6].map(|count| run_of(count, UsageKind::VirtMem));
        let (other, inside) = (second.start(), third.start() + PAGE_SIZE);
        let (other, inside) = (another_owner(other), another_owner(inside));
        let mut list = FrameList::new();
        // From the highest address down, so that no two pushes are contiguous.
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

/// Once the other owner is dropped, the list can use the frame's metadata.
#[test]
fn a_run_can_follow_once_the_first_frame_is_no_longer_shared() {
    without_leak(|| {
        let [first, second] = [1, 1].map(|count| run_of(count, UsageKind::VirtMem));
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

/// Debug builds panic, and release builds do nothing.
#[test]
fn freeing_a_frame_that_is_in_a_list_has_no_effect() {
    without_leak(|| {
        let [first, second] = [3, 3].map(|count| run_of(count, UsageKind::PageTable));
        let mut list = FrameList::new();
        let start = first.start().max(second.start());
        match first.start() < second.start() {
            true => list.push(second).and_then(|()| list.push(first)).unwrap(),
            false => list.push(first).and_then(|()| list.push(second)).unwrap(),
        }
        let before = usage();
        // SAFETY: that it is in the list already is the mistake, which is caught.
        let twice = || drop(unsafe { FrameRun::from_raw(start, 1) });
        let result = catch_unwind(AssertUnwindSafe(twice));
        assert_eq!(result.is_err(), cfg!(debug_assertions));
        assert_eq!(usage(), before);
    });
}

#[test]
fn a_shared_run_is_freed_by_its_last_owner() {
    without_leak(|| {
        let run = run_of(5, UsageKind::VirtMem);
        assert!(run.is_exclusive());
        let shared = run.share().unwrap();
        assert_eq!((shared.start(), shared.count()), (run.start(), 5));
        assert!(!run.is_exclusive() && !shared.is_exclusive());
        drop(run);
        assert_eq!(usage().of(UsageKind::VirtMem), 5);
        assert!(shared.is_exclusive());
    });
}
