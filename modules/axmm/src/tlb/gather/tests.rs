//! Tests of what is flushed, by which harts, and which frames are freed after it.

use axalloc::{SharedFrames, UsageKind, alloc_frame};

use super::*;
use crate::by_turns::{FLUSHES, FourHarts, POLLS, as_hart};
use crate::test_memory;

const PAGE: usize = PAGE_SIZE_4K;
const ALL_HARTS: u64 = u64::MAX;

type Gather<'a> = TlbGather<'a, FourHarts>;

/// Returns a frame that a page table and the test own together, and the test's share, which
/// says how many owners there are.
fn frame_with_two_owners() -> (PhysAddr, SharedFrames) {
    test_memory::add_once();
    let owner = alloc_frame(UsageKind::Object).unwrap().into_shared();
    (owner.share().unwrap().into_raw(), owner)
}

fn page(number: usize) -> Range<usize> {
    number * PAGE..(number + 1) * PAGE
}

#[test]
fn pages_are_flushed_in_one_go_and_then_their_frames_are_freed() {
    let state = TlbState::kernel();
    let (frame, owner) = frame_with_two_owners();
    let mut gather = Gather::new(&state);
    gather.set_owns_frames(true);
    gather.unmapped(page(5), frame);
    gather.changed(page(2));
    assert!(
        !gather.has_left_entries(),
        "the kernel's pages are not shared"
    );
    assert_eq!(FLUSHES.take(), []);
    assert_eq!(owner.references(), 2);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, 2 * PAGE..6 * PAGE)]);
    assert_eq!(owner.references(), 1);
}

#[test]
fn long_loops_look_for_flush_requests() {
    let state = TlbState::kernel();
    let gather = Gather::new(&state);
    POLLS.set(0);
    gather.poll();
    assert_eq!(POLLS.get(), 1);
    gather.finish();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic = "must be finished"]
fn a_gather_that_is_not_finished_panics_when_it_is_dropped() {
    let state = TlbState::kernel();
    let mut gather = Gather::new(&state);
    gather.changed(page(2));
}

#[test]
fn frames_that_the_mapping_does_not_own_are_kept() {
    let state = TlbState::kernel();
    let (frame, owner) = frame_with_two_owners();
    let mut gather = Gather::new(&state);
    gather.unmapped(page(5), frame);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, page(5))]);
    assert_eq!(owner.references(), 2);
}

#[test]
fn a_table_is_flushed_with_all_addresses() {
    let state = TlbState::kernel();
    let (frame, owner) = frame_with_two_owners();
    let mut gather = Gather::new(&state);
    gather.detached_table(frame);
    assert_eq!(owner.references(), 2);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, ALL_ADDRESSES)]);
    assert_eq!(owner.references(), 1);
}

/// The list cannot link from such a frame to the next.
#[test]
fn a_frame_with_other_owners_is_flushed_and_freed_before_the_next_frame() {
    let state = TlbState::kernel();
    let mut frames = [frame_with_two_owners(), frame_with_two_owners()];
    // In descending order they are not contiguous.
    frames.sort_by_key(|(frame, _)| core::cmp::Reverse(*frame));
    let references = || [0, 1].map(|index| frames[index].1.references());
    let mut gather = Gather::new(&state);
    gather.set_owns_frames(true);
    gather.unmapped(page(5), frames[0].0);
    gather.unmapped(page(6), frames[1].0);
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, page(5))]);
    assert_eq!(references(), [1, 2]);
    gather.finish();
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, page(6))]);
    assert_eq!(references(), [1, 1]);
}

#[test]
fn added_rights_are_flushed_by_this_hart_only() {
    let state = TlbState::kernel();
    let mut gather = Gather::new(&state);
    gather.set_only_adds_rights();
    gather.changed(page(5));
    as_hart(2, || gather.finish());
    assert_eq!(FLUSHES.take(), [(1 << 2, page(5))]);
}

#[test]
fn pages_that_are_flushed_at_once_are_not_flushed_again() {
    let state = TlbState::kernel();
    let mut gather = Gather::new(&state);
    gather.flush_now(page(5));
    assert_eq!(FLUSHES.take(), [(ALL_HARTS, page(5))]);
    gather.finish();
    assert_eq!(FLUSHES.take(), [], "nothing is left");
}

#[test]
fn tables_are_freed_only_in_the_exclusive_range() {
    let state = TlbState::kernel();
    let mut gather = Gather::new(&state);
    let may_free =
        |gather: &Gather, first, last| gather.disable_irqs_if_exclusive(first, last).is_some();
    assert!(!may_free(&gather, 0, usize::MAX) && !may_free(&gather, 0, 0));
    gather.set_exclusive(10..21);
    for (first, last) in [(10, 20), (10, 10), (20, 20)] {
        assert!(may_free(&gather, first, last));
    }
    for (first, last) in [(9, 20), (10, 21), (9, 21), (0, 9), (21, 30)] {
        assert!(!may_free(&gather, first, last));
    }
    gather.set_exclusive(1..1);
    assert!(!may_free(&gather, 0, 0) && !may_free(&gather, 1, 1));
    let last_table = usize::MAX - 9;
    gather.set_exclusive(0..usize::MAX);
    assert!(may_free(&gather, last_table, usize::MAX));
    gather.set_exclusive(0..last_table);
    assert!(!may_free(&gather, last_table, usize::MAX));
    gather.finish();
}

/// Such a frame stays in its entry until TLBs are flushed. Then the page is unmapped again.
#[test]
#[cfg(feature = "objects")]
fn a_frame_that_address_spaces_share_is_released_after_the_flush() {
    let state = TlbState::user();
    let (frame, owner) = frame_with_two_owners();
    let mut gather = Gather::new(&state);
    gather.set_owns_frames(true);
    assert!(!gather.unmapped(page(5), frame));
    assert!(gather.has_left_entries());
    gather.finish();
    assert_eq!(owner.references(), 2);
    let mut gather = Gather::new(&state);
    gather.set_owns_frames(true);
    gather.set_flushed();
    assert!(gather.unmapped(page(5), frame));
    gather.finish();
    assert_eq!(owner.references(), 1);
}
