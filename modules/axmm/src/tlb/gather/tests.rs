//! What is flushed, by which harts, and which frames are freed after it.

use axalloc::{SharedFrames, UsageKind, alloc_frame};

use super::*;
use crate::by_turns::{FLUSHES, Four, as_hart};
use crate::test_memory;

const PAGE: usize = PAGE_SIZE_4K;
const EVERY_HART: u64 = u64::MAX;

/// A frame that a page table owns together with the test, which counts.
fn owned_by_two() -> (PhysAddr, SharedFrames) {
    test_memory::give();
    let owner = alloc_frame(UsageKind::Object).unwrap().into_shared();
    (owner.share().unwrap().into_raw(), owner)
}

fn page(number: usize) -> Range<usize> {
    number * PAGE..(number + 1) * PAGE
}

#[test]
fn pages_are_flushed_in_one_go_and_then_their_frames_are_freed() {
    let context = Context::kernel();
    let finish: [fn(TlbGather<Four>); 2] = [|gather| gather.finish(), |gather| drop(gather)];
    for finish in finish {
        let (frame, owner) = owned_by_two();
        let mut gather = TlbGather::<Four>::new(&context);
        gather.own(true);
        gather.pages(page(5), frame);
        gather.changed(page(2));
        assert_eq!(FLUSHES.take(), []);
        assert_eq!(owner.references(), 2);
        finish(gather);
        assert_eq!(FLUSHES.take(), [(EVERY_HART, 2 * PAGE..6 * PAGE)]);
        assert_eq!(owner.references(), 1);
    }
}

#[test]
fn frames_that_the_mapping_does_not_own_are_kept() {
    let context = Context::kernel();
    let (frame, owner) = owned_by_two();
    let mut gather = TlbGather::<Four>::new(&context);
    gather.pages(page(5), frame);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(EVERY_HART, page(5))]);
    assert_eq!(owner.references(), 2);
}

#[test]
fn with_a_table_everything_is_flushed() {
    let context = Context::kernel();
    let (frame, owner) = owned_by_two();
    let mut gather = TlbGather::<Four>::new(&context);
    gather.table(frame);
    assert_eq!(owner.references(), 2);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(EVERY_HART, ALL_ADDRESSES)]);
    assert_eq!(owner.references(), 1);
}

/// No row can wait behind such a frame.
#[test]
fn a_frame_with_other_owners_is_flushed_and_freed_before_the_next_one() {
    let context = Context::kernel();
    let mut frames = [owned_by_two(), owned_by_two()];
    // In descending order, they are no row.
    frames.sort_by_key(|(frame, _)| core::cmp::Reverse(*frame));
    let references = || [0, 1].map(|index| frames[index].1.references());
    let mut gather = TlbGather::<Four>::new(&context);
    gather.own(true);
    gather.pages(page(5), frames[0].0);
    gather.pages(page(6), frames[1].0);
    assert_eq!(FLUSHES.take(), [(EVERY_HART, page(5))]);
    assert_eq!(references(), [1, 2]);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(EVERY_HART, page(6))]);
    assert_eq!(references(), [1, 1]);
}

#[test]
fn rights_that_are_added_are_flushed_by_this_hart_alone() {
    let context = Context::kernel();
    let mut gather = TlbGather::<Four>::new(&context);
    gather.only_adds();
    gather.changed(page(5));
    as_hart(2, || gather.finish());
    assert_eq!(FLUSHES.take(), [(1 << 2, page(5))]);
}

#[test]
fn what_must_be_flushed_at_once_is_not_flushed_again() {
    let context = Context::kernel();
    let mut gather = TlbGather::<Four>::new(&context);
    gather.forget_now(page(5));
    assert_eq!(FLUSHES.take(), [(EVERY_HART, page(5))]);
    gather.finish();
    assert_eq!(FLUSHES.take(), [], "nothing is left");
}

#[test]
fn tables_are_freed_only_in_what_the_operation_alone_changes() {
    let context = Context::kernel();
    let mut gather = TlbGather::<Four>::new(&context);
    let is_alone = |gather: &TlbGather<Four>, first, last| gather.alone(first, last).is_some();
    assert!(!is_alone(&gather, 0, usize::MAX) && !is_alone(&gather, 0, 0));
    gather.set_alone((10, 20));
    for (first, last) in [(10, 20), (10, 10), (20, 20)] {
        assert!(is_alone(&gather, first, last));
    }
    for (first, last) in [(9, 20), (10, 21), (9, 21), (0, 9), (21, 30)] {
        assert!(!is_alone(&gather, first, last));
    }
}
