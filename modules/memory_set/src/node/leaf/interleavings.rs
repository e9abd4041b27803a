//! The interleavings, with up to three preemptions, of a thread that changes a leaf and a thread
//! that looks an area up, under every order that memory may have.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use super::*;

const RO: usize = 1;
const RW: usize = 3;

/// An area: its addresses and its words, which belong together.
type Area = (Range<usize>, [usize; WORDS]);

/// Returns an area whose words tell its addresses.
fn area(start: usize, end: usize, flags: usize) -> Area {
    (start..end, [flags, start, end, start + end, start + end])
}

fn insert(leaf: &Leaf<WordSlot>, position: usize, (range, words): Area) {
    leaf.insert(position, &range, words);
}

/// Lets `change` run beside a lookup of `addr` in a leaf with the areas 10..20 and 30..40. The
/// lookup returns one of the areas of `possible`, or `None`. Both happen, and each of the areas
/// is returned in some interleaving.
fn peek_beside<const N: usize>(addr: usize, possible: [Area; N], change: fn(&Leaf<WordSlot>)) {
    let missed: &AtomicUsize = Box::leak(Box::default());
    let found: &[AtomicUsize; N] = Box::leak(Box::new([const { AtomicUsize::new(0) }; N]));
    let possible: &[Area; N] = Box::leak(Box::new(possible));
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let leaf = Arc::new(Leaf::<WordSlot>::new());
        insert(&leaf, 0, area(10, 20, RW));
        insert(&leaf, 1, area(30, 40, RW));
        let reader = leaf.clone();
        let reader = thread::spawn(move || {
            let Some(seen) = reader.peek(addr) else {
                missed.fetch_add(1, Relaxed);
                return;
            };
            let seen = (seen.start..seen.end, seen.words);
            let which = possible.iter().position(|area| *area == seen);
            let which = which.unwrap_or_else(|| panic!("{seen:?} was never in the leaf"));
            found[which].fetch_add(1, Relaxed);
        });
        change(&leaf);
        reader.join().unwrap();
    });
    let missed = missed.load(Relaxed);
    let found = found.each_ref().map(|count| count.load(Relaxed));
    assert!(
        missed > 0 && found.iter().all(|count| *count > 0),
        "{missed} {found:?}"
    );
}

#[test]
fn an_area_is_read_with_its_old_flags_or_its_new_ones() {
    let new = [RO, 30, 40, 70, 70];
    let possible = [area(30, 40, RW), (30..40, new)];
    peek_beside(35, possible, |leaf| leaf.set_flags_word(1, RO));
}

#[test]
fn an_area_is_read_with_its_old_start_or_its_new_one() {
    let (_, words) = area(30, 40, RW);
    let possible = [area(30, 40, RW), (32..40, words)];
    peek_beside(35, possible, |leaf| {
        leaf.set_start(1, 32);
    });
}

#[test]
fn an_area_that_is_removed_is_read_whole_or_missed() {
    peek_beside(15, [area(10, 20, RW)], |leaf| {
        leaf.remove(0);
    });
}

/// Its slot is the one that the removed area had.
#[test]
fn an_area_is_read_whole_when_another_takes_its_slot() {
    let possible = [area(30, 40, RW), area(32, 40, RO)];
    peek_beside(35, possible, |leaf| {
        leaf.remove(1);
        insert(leaf, 1, area(32, 40, RO));
    });
}

#[test]
fn an_area_is_found_although_another_is_inserted_before_it() {
    peek_beside(35, [area(30, 40, RW)], |leaf| {
        insert(leaf, 1, area(22, 25, RO));
    });
}
