//! Contiguous and physical objects, slices, pins, cache policies and handles.

use axalloc::{UsageKind, usage};
use axerrno::AxError;
use axmm::vmo::{Access, CachePolicy, VmoKind};

use crate::support::{GIB, KIB4, alone, phys};
use crate::{Vmo, byte, frame, frames, refused};

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
        // Addresses of x86_64 have 52 bits.
        (1 << 52, KIB4),
        ((1 << 52) - KIB4, 2 * KIB4),
    ] {
        // SAFETY: no object is made.
        let result = unsafe { Vmo::new_physical(phys(start), len) };
        assert_eq!(refused(result), AxError::InvalidInput, "{start:#x}");
    }
    // SAFETY: there is no such memory, so no access succeeds.
    let nowhere = unsafe { Vmo::new_physical(phys((1 << 52) - KIB4), KIB4) }.unwrap();
    assert_eq!(refused(nowhere.read(0, &mut [0])), AxError::BadAddress);
    assert_eq!(refused(nowhere.write(0, &[0])), AxError::BadAddress);
    assert_eq!(refused(nowhere.zero(0..KIB4)), AxError::BadAddress);
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
    assert_eq!(frames(), 1);
    drop(clone);
    assert_eq!(frames(), 0);
}
