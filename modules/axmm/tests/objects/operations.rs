//! What each operation does and refuses.

use std::ops::Range;

use axalloc::{UsageKind, alloc_frame, usage};
use axerrno::{AxError, AxResult};
use axmm::PhysAddr;
use axmm::vmo::{Access, CachePolicy, VmoKind};

use crate::support::{GIB, KIB4, RAM, alone, phys};
use crate::{TIB, Vmo, frames};

fn byte(object: &Vmo, offset: usize) -> u8 {
    let mut byte = [0];
    object.read(offset, &mut byte).unwrap();
    byte[0]
}

fn frame(object: &Vmo, offset: usize, access: Access) -> PhysAddr {
    object.request(offset, access).unwrap().frame
}

fn refused<T>(result: AxResult<T>) -> AxError {
    result.err().unwrap()
}

#[test]
fn what_is_written_is_read_across_pages() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::new_paged(TIB).unwrap();
    assert_eq!((object.len(), object.kind()), (TIB, VmoKind::Paged));
    for offset in [0, 7, 63 * KIB4 - 3, GIB - 5000, TIB - 10000] {
        let bytes: Vec<u8> = (0..10000).map(|i| (i * 7 + offset) as u8).collect();
        object.write(offset, &bytes).unwrap();
        let mut read = vec![0; 10000];
        object.read(offset, &mut read).unwrap();
        assert!(read == bytes, "{offset:#x}");
    }
    assert_eq!(object.committed_bytes(), frames() * KIB4);
    object.write(TIB, &[]).unwrap();
    for (offset, len) in [(TIB, 1), (TIB - 1, 2), (usize::MAX, 2)] {
        assert_eq!(
            refused(object.write(offset, &vec![0; len])),
            AxError::InvalidInput
        );
        assert_eq!(
            refused(object.read(offset, &mut vec![0; len])),
            AxError::InvalidInput
        );
    }
    drop(object);
    assert_eq!(usage(), before);
}

#[test]
fn a_read_of_an_untouched_page_takes_no_memory() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::new_paged(TIB).unwrap();
    let zero = object.request(5 * KIB4, Access::Read).unwrap();
    assert_eq!((zero.count, zero.writable), (1, false));
    assert_eq!(frame(&object, TIB - KIB4, Access::Read), zero.frame);
    assert_eq!(byte(&object, GIB), 0);
    assert_eq!(usage(), before);
    let written = object.request(5 * KIB4, Access::Write).unwrap();
    assert!(written.writable && written.frame != zero.frame);
    assert_eq!(object.request(5 * KIB4, Access::Read), Ok(written));
    assert_eq!(frames(), 1);
    assert_eq!(
        object.request(5 * KIB4 + 1, Access::Read),
        Err(AxError::InvalidInput)
    );
    assert_eq!(
        object.request(TIB, Access::Read),
        Err(AxError::InvalidInput)
    );
}

#[test]
fn a_request_returns_as_many_contiguous_pages_as_there_are() {
    let _alone = alone();
    let object = Vmo::new_paged(100 * KIB4).unwrap();
    object.commit(0..64 * KIB4).unwrap();
    let run = object.request(10 * KIB4, Access::Write).unwrap();
    assert_eq!((run.offset, run.count, run.writable), (10 * KIB4, 54, true));
    let snapshot = object.snapshot().unwrap();
    object.write(20 * KIB4, &[1]).unwrap();
    let run = object.request(10 * KIB4, Access::Read).unwrap();
    assert_eq!((run.count, run.writable), (10, false));
    drop(snapshot);
    let run = object.request(10 * KIB4, Access::Read).unwrap();
    assert_eq!((run.count, run.writable), (10, true));
}

#[test]
fn a_snapshot_and_its_original_change_apart() {
    let _alone = alone();
    let object = Vmo::new_paged(GIB).unwrap();
    object.write(0, &[1]).unwrap();
    object.write(GIB - 1, &[2]).unwrap();
    let snapshot = object.snapshot().unwrap();
    assert_eq!(
        (snapshot.kind(), snapshot.len()),
        (VmoKind::Snapshot, object.len())
    );
    assert_eq!((frames(), object.shared_bytes()), (2, 2 * KIB4));
    let first = frame(&object, 0, Access::Read);
    assert_eq!(frame(&snapshot, 0, Access::Read), first);
    object.write(0, &[10]).unwrap();
    assert_eq!((byte(&object, 0), byte(&snapshot, 0), frames()), (10, 1, 3));
    // The last owner writes in place.
    snapshot.write(1, &[20]).unwrap();
    assert_eq!((frame(&snapshot, 0, Access::Write), frames()), (first, 3));
    assert_eq!(object.private_bytes(), KIB4);
    let last = frame(&snapshot, GIB - KIB4, Access::Read);
    drop(object);
    assert_eq!((frames(), snapshot.private_bytes()), (2, 2 * KIB4));
    assert_eq!(frame(&snapshot, GIB - KIB4, Access::Write), last);
    assert_eq!(byte(&snapshot, GIB - 1), 2);
}

#[test]
fn a_snapshot_of_a_range_keeps_nothing_else() {
    let _alone = alone();
    let object = Vmo::new_resizable(300 * KIB4).unwrap();
    object.commit(0..300 * KIB4).unwrap();
    object.write(70 * KIB4, &[7]).unwrap();
    let part = object.snapshot_of(70 * KIB4, 130 * KIB4).unwrap();
    assert_eq!(part.len(), 130 * KIB4);
    let of_part = part.snapshot_of(60 * KIB4, 5 * KIB4).unwrap();
    drop(object);
    assert_eq!((frames(), byte(&part, 0)), (130, 7));
    part.write(62 * KIB4, &[9]).unwrap();
    assert_eq!(byte(&of_part, 2 * KIB4), 0);
    drop(part);
    assert_eq!(frames(), 5);
    for (offset, len) in [(0, 6 * KIB4), (1, KIB4), (0, 1), (usize::MAX & !4095, KIB4)] {
        assert_eq!(
            refused(of_part.snapshot_of(offset, len)),
            AxError::InvalidInput
        );
    }
}

#[test]
fn decommit_and_zero_give_frames_back() {
    let _alone = alone();
    let object = Vmo::new_paged(GIB).unwrap();
    object.commit(0..200 * KIB4).unwrap();
    object.decommit(3 * KIB4..3 * KIB4).unwrap();
    assert_eq!(frames(), 200);
    object.decommit(10 * KIB4..20 * KIB4).unwrap();
    object.zero(15 * KIB4..150 * KIB4).unwrap();
    assert_eq!(frames(), 60);
    object.write(9 * KIB4, &[1; 2 * KIB4]).unwrap();
    let snapshot = object.snapshot().unwrap();
    assert_eq!(refused(snapshot.decommit(0..KIB4)), AxError::Unsupported);
    snapshot.zero(9 * KIB4..10 * KIB4).unwrap();
    assert_eq!(
        (byte(&snapshot, 9 * KIB4), byte(&snapshot, 10 * KIB4)),
        (0, 1)
    );
    assert_eq!((byte(&object, 9 * KIB4), frames()), (1, 61));
    object.decommit(0..GIB).unwrap();
    assert_eq!((object.committed_bytes(), frames()), (0, 60));
    for range in [1..KIB4, 0..1, 5 * KIB4..TIB, 0..GIB + KIB4] {
        assert_eq!(
            refused(object.decommit(range.clone())),
            AxError::InvalidInput
        );
        assert_eq!(refused(object.zero(range.clone())), AxError::InvalidInput);
        assert_eq!(refused(object.commit(range)), AxError::InvalidInput);
    }
}

#[test]
fn a_resizable_object_shrinks_and_grows() {
    let _alone = alone();
    let object = Vmo::new_resizable(0).unwrap();
    assert_eq!(refused(object.write(0, &[1])), AxError::InvalidInput);
    object.resize(10 * KIB4).unwrap();
    object.write(0, &[1; 10 * KIB4]).unwrap();
    let snapshot = object.snapshot().unwrap();
    object.resize(TIB).unwrap();
    object.write(TIB - KIB4, &[3; KIB4]).unwrap();
    assert_eq!((byte(&object, 9 * KIB4), byte(&object, 10 * KIB4)), (1, 0));
    object.resize(KIB4).unwrap();
    object.resize(TIB).unwrap();
    assert_eq!((byte(&object, 0), byte(&object, KIB4)), (1, 0));
    assert_eq!(byte(&object, TIB - KIB4), 0);
    assert_eq!((byte(&snapshot, 9 * KIB4), frames()), (1, 10));
    assert_eq!(refused(object.resize(1)), AxError::InvalidInput);
    assert_eq!(refused(snapshot.resize(KIB4)), AxError::Unsupported);
    assert_eq!(refused(object.slice(0, KIB4)), AxError::Unsupported);
    assert_eq!(refused(Vmo::new_paged(0)), AxError::InvalidInput);
    assert_eq!(refused(Vmo::new_resizable(9)), AxError::InvalidInput);
}

#[test]
fn a_contiguous_object_has_one_run_of_frames() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::new_contiguous(9 * KIB4).unwrap();
    assert_eq!((frames(), object.private_bytes()), (9, 9 * KIB4));
    let run = object.request(0, Access::Read).unwrap();
    assert_eq!((run.count, run.writable), (9, true));
    object.write(5 * KIB4 - 1, &[1, 2]).unwrap();
    assert_eq!(
        (byte(&object, 5 * KIB4 - 1), byte(&object, 5 * KIB4)),
        (1, 2)
    );
    object.commit(0..9 * KIB4).unwrap();
    object.zero(5 * KIB4..6 * KIB4).unwrap();
    assert_eq!(
        (byte(&object, 5 * KIB4 - 1), byte(&object, 5 * KIB4)),
        (1, 0)
    );
    assert_eq!(refused(object.decommit(0..KIB4)), AxError::Unsupported);
    assert_eq!(refused(object.snapshot()), AxError::Unsupported);
    assert_eq!(refused(object.resize(KIB4)), AxError::Unsupported);
    assert_eq!(refused(Vmo::new_contiguous(0)), AxError::InvalidInput);
    assert_eq!(refused(Vmo::new_contiguous(GIB)), AxError::NoMemory);
    drop(object);
    assert_eq!(usage(), before);
}

#[test]
fn a_physical_object_is_the_range_that_it_was_given() {
    let _alone = alone();
    let memory = axalloc::alloc_frames(4, KIB4, UsageKind::Dma).unwrap();
    // SAFETY: the frames belong to the test, which makes no reference to them.
    let object = unsafe { Vmo::new_physical(memory.start(), 4 * KIB4) }.unwrap();
    assert_eq!(object.cache_policy(), CachePolicy::Device);
    assert_eq!(frame(&object, KIB4, Access::Write), memory.start() + KIB4);
    object.write(2 * KIB4 - 1, &[3, 4]).unwrap();
    assert_eq!(byte(&object, 2 * KIB4), 4);
    object.zero(0..4 * KIB4).unwrap();
    assert_eq!((byte(&object, 2 * KIB4), object.committed_bytes()), (0, 0));
    for result in [
        object.commit(0..KIB4),
        object.decommit(0..KIB4),
        object.resize(KIB4),
        object.snapshot().map(drop),
        object.snapshot_of(0, KIB4).map(drop),
    ] {
        assert_eq!(refused(result), AxError::Unsupported);
    }
    for (start, len) in [
        (1, KIB4),
        (KIB4, 1),
        (KIB4, 0),
        (usize::MAX & !4095, 2 * KIB4),
    ] {
        // SAFETY: no object is made.
        let result = unsafe { Vmo::new_physical(phys(start), len) };
        assert_eq!(refused(result), AxError::InvalidInput, "{start:#x}");
    }
    // SAFETY: there is no such memory, so no access succeeds.
    let nowhere = unsafe { Vmo::new_physical(phys(1 << 50), KIB4) }.unwrap();
    assert_eq!(refused(nowhere.read(0, &mut [0])), AxError::BadAddress);
}

#[test]
fn a_slice_is_a_window_on_its_object() {
    let _alone = alone();
    let object = Vmo::new_paged(100 * KIB4).unwrap();
    let slice = object.slice(10 * KIB4, 80 * KIB4).unwrap();
    let inner = slice.slice(5 * KIB4, 3 * KIB4).unwrap();
    assert_eq!((inner.kind(), inner.len()), (VmoKind::Slice, 3 * KIB4));
    inner.write(KIB4 - 1, &[1, 2]).unwrap();
    assert_eq!(byte(&object, 16 * KIB4), 2);
    object.write(17 * KIB4, &[3]).unwrap();
    assert_eq!(byte(&inner, 2 * KIB4), 3);
    assert_eq!(
        refused(inner.read(3 * KIB4, &mut [0])),
        AxError::InvalidInput
    );
    assert_eq!(
        inner.request(3 * KIB4, Access::Read),
        Err(AxError::InvalidInput)
    );
    assert_eq!(
        frame(&inner, KIB4, Access::Write),
        frame(&object, 16 * KIB4, Access::Read)
    );
    let run = inner.request(0, Access::Read).unwrap();
    assert!(run.offset == 0 && run.count <= 3);
    assert_eq!(inner.committed_bytes(), 3 * KIB4);
    let snapshot = inner.snapshot().unwrap();
    inner.zero(0..3 * KIB4).unwrap();
    assert_eq!((byte(&snapshot, 2 * KIB4), byte(&inner, 2 * KIB4)), (3, 0));
    for (offset, len) in [(0, 4 * KIB4), (3 * KIB4, KIB4), (0, 0), (1, KIB4), (0, 5)] {
        assert_eq!(refused(inner.slice(offset, len)), AxError::InvalidInput);
    }
    assert_eq!(refused(inner.resize(KIB4)), AxError::Unsupported);
    drop((object, slice));
    inner.write(0, &[9]).unwrap();
    assert_eq!(byte(&inner, 0), 9);
}

#[test]
fn a_pinned_page_stays_where_it_is() {
    let _alone = alone();
    let object = Vmo::new_resizable(100 * KIB4).unwrap();
    let snapshot = object.snapshot().unwrap();
    let pinned = object.pin(10 * KIB4..12 * KIB4).unwrap();
    let again = object.pin(11 * KIB4..12 * KIB4).unwrap();
    assert_eq!(frames(), 2);
    let at = frame(&object, 11 * KIB4, Access::Read);
    for result in [
        object.decommit(0..11 * KIB4),
        object.zero(11 * KIB4..13 * KIB4),
        object.resize(11 * KIB4),
        object.snapshot().map(drop),
        object.snapshot_of(11 * KIB4, KIB4).map(drop),
        object.set_cache_policy(CachePolicy::Uncached),
    ] {
        assert_eq!(refused(result), AxError::BadState);
    }
    drop(pinned);
    assert_eq!(refused(object.decommit(0..12 * KIB4)), AxError::BadState);
    object.decommit(0..11 * KIB4).unwrap();
    object.snapshot_of(0, 11 * KIB4).unwrap();
    object.resize(12 * KIB4).unwrap();
    assert_eq!(frame(&object, 11 * KIB4, Access::Write), at);
    drop(again);
    object.resize(0).unwrap();
    assert_eq!(frames(), 0);
    assert_eq!(refused(object.pin(0..0)), AxError::InvalidInput);
    drop(snapshot);
}

#[test]
fn the_cache_policy_changes_only_while_there_is_no_clone() {
    let _alone = alone();
    let object = Vmo::new_paged(4 * KIB4).unwrap();
    let slice = object.slice(0, KIB4).unwrap();
    slice.set_cache_policy(CachePolicy::Uncached).unwrap();
    assert_eq!(object.cache_policy(), CachePolicy::Uncached);
    let snapshot = object.snapshot().unwrap();
    assert_eq!(snapshot.cache_policy(), CachePolicy::Uncached);
    let of_snapshot = snapshot.snapshot().unwrap();
    drop(object);
    for object in [&snapshot, &of_snapshot] {
        let result = object.set_cache_policy(CachePolicy::Cached);
        assert_eq!(refused(result), AxError::BadState);
    }
    drop(of_snapshot);
    drop(slice);
    snapshot.set_cache_policy(CachePolicy::Cached).unwrap();
}

#[test]
fn a_handle_is_the_same_object_as_its_clone() {
    let _alone = alone();
    let object = Vmo::new_paged(KIB4).unwrap();
    assert_eq!(object.name(), "");
    let clone = object.clone();
    clone.set_name("log");
    clone.write(0, &[5]).unwrap();
    assert_eq!((object.name(), byte(&object, 0)), ("log", 5));
    assert_eq!(
        format!("{object:?}"),
        "Paged object \"log\" of 0x1000 bytes"
    );
    drop(object);
    assert!(RAM.contains(&frame(&clone, 0, Access::Read).as_usize()));
    drop(clone);
    assert_eq!(frames(), 0);
}

#[test]
fn a_range_that_ends_before_it_starts_is_refused() {
    let _alone = alone();
    let object = Vmo::new_paged(2 * KIB4).unwrap();
    let range = Range {
        start: 2 * KIB4,
        end: KIB4,
    };
    for result in [
        object.commit(range.clone()),
        object.decommit(range.clone()),
        object.zero(range.clone()),
        object.pin(range).map(drop),
    ] {
        assert_eq!(refused(result), AxError::InvalidInput);
    }
}

#[test]
fn pages_are_committed_in_single_frames_if_there_are_no_runs() {
    let _alone = alone();
    let mut taken = Vec::with_capacity(RAM.len() / KIB4);
    while let Ok(frame) = alloc_frame(UsageKind::Global) {
        taken.push(frame);
    }
    // Every other frame is free, and one pair.
    taken.sort_by_key(|frame| frame.start());
    let mut number = 0;
    taken.retain(|_| {
        number += 1;
        number % 2 == 0 && number != 100
    });
    let object = Vmo::new_paged(GIB).unwrap();
    object.commit(10 * KIB4..170 * KIB4).unwrap();
    assert_eq!(object.private_bytes(), 160 * KIB4);
    assert_eq!(refused(object.commit(0..RAM.len())), AxError::NoMemory);
    assert_eq!(object.private_bytes(), 160 * KIB4);
}
