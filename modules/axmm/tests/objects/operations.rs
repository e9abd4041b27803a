//! What each operation does and refuses.

use std::ops::Range;

use axalloc::{UsageKind, alloc_frame, usage};
use axerrno::AxError;
use axmm::vmo::{Access, VmoKind};

use crate::support::copies::{PARTS_OF_A_BUFFER, faulting};
use crate::support::{GIB, KIB4, RAM, alone};
use crate::{TIB, Vmo, byte, frame, frames, refused};

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

/// The copy stops where the caller's buffer faults. The next access to the buffer resolves the fault.
#[test]
fn a_buffer_may_fault() {
    let _alone = alone();
    let object = Vmo::new_paged(4 * KIB4).unwrap();
    let text: Vec<u8> = (0..3 * KIB4).map(|n| n as u8 | 1).collect();
    for stale in PARTS_OF_A_BUFFER {
        let within = |buffer: &[u8]| {
            let start = buffer.as_ptr().addr();
            start + stale.start..start + stale.end
        };
        object.zero(0..4 * KIB4).unwrap();
        faulting(within(&text), || object.write(100, &text)).unwrap();
        let mut back = vec![0; text.len()];
        faulting(within(&back), || object.read(100, &mut back)).unwrap();
        assert!(back == text, "{stale:?}");
    }
}
