//! The buddy system against a plain model of free memory, with RAM that is only
//! imagined: the buddy system touches none.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{Buddy, ORDERS};
use crate::word::{NIL, Word};
use crate::words::Words;

#[path = "../../tests/support/mod.rs"]
pub mod support;

use support::{FreeFrames, ranges_of, scripts, size_below};

type Verdict = Result<(), TestCaseError>;

/// The frames of a GiB, which have an array of words of their own.
const GIB: usize = 1 << 18;

/// A step of a script. What there is to choose from wraps around.
#[derive(Clone, Debug)]
enum Step {
    Alloc {
        count: usize,
        align: usize,
    },
    AllocAtMost {
        order: usize,
    },
    Free {
        which: usize,
    },
    FreePart {
        which: usize,
        from: usize,
        count: usize,
    },
}

fn step(orders: u32) -> impl Strategy<Value = Step> {
    let align = (0..orders).prop_map(|order| 1 << order);
    let align = prop_oneof![4 => Just(1), 1 => align];
    prop_oneof![
        4 => (size_below(orders), align).prop_map(|(count, align)| Step::Alloc { count, align }),
        2 => (0..=orders as usize).prop_map(|order| Step::AllocAtMost { order }),
        3 => any::<usize>().prop_map(|which| Step::Free { which }),
        2 => any::<(usize, usize, usize)>()
            .prop_map(|(which, from, count)| Step::FreePart { which, from, count }),
    ]
}

/// Imagined RAM: the buddy system, and what it should be.
struct Machine {
    buddy: Buddy,
    words: Box<Words>,
    ranges: Vec<Range<usize>>,
    free: FreeFrames,
    held: BTreeMap<usize, usize>,
    /// The memory of the words, which go first.
    _memory: Vec<Word>,
}

impl Machine {
    fn with(ranges: Vec<Range<usize>>) -> Self {
        let words = Box::new(Words::new());
        let missing = words.missing(ranges.iter().cloned());
        let mut memory = Vec::with_capacity(missing.max(1));
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the memory holds that many, is nobody else's, and stays where it
        // is as long as the words are used.
        unsafe { words.publish(ranges.iter().cloned(), start) };
        let mut buddy = Buddy::new();
        let covered = ranges.into_iter().flat_map(|range| words.covered(range));
        let ranges: Vec<_> = covered.collect();
        for range in &ranges {
            buddy.dealloc(&words, range.start, range.len());
        }
        Self {
            buddy,
            words,
            free: FreeFrames::of(&ranges),
            ranges,
            held: BTreeMap::new(),
            _memory: memory,
        }
    }

    /// The free blocks on the lists, with their orders; each link is as it should
    /// be.
    fn blocks(&self) -> Result<BTreeMap<usize, usize>, TestCaseError> {
        let mut blocks = BTreeMap::new();
        for order in 0..ORDERS {
            let (mut before, mut at) = (NIL, self.buddy.lists[order]);
            prop_assert_eq!(self.buddy.orders >> order & 1 == 1, at != NIL);
            while at != NIL {
                let word = self.words.get(at as usize);
                prop_assert!(word.is_some_and(|word| word.is_free(order)), "{at:#x}");
                let (prev, next) = word.map_or((NIL, NIL), Word::links);
                prop_assert_eq!(prev, before, "of {:#x}", at);
                let twice = blocks.insert(at as usize, order);
                prop_assert_eq!(twice, None, "{:#x} is on two lists", at);
                (before, at) = (at, next);
            }
        }
        Ok(blocks)
    }

    /// The lists have exactly what free memory makes when it is merged as far as
    /// it goes, so that each free frame is in one block.
    fn is_merged(&self) -> Verdict {
        prop_assert_eq!(self.blocks()?, self.free.blocks());
        Ok(())
    }

    /// No frame but the first of a free block passes for one.
    fn no_other_word_is_a_free_blocks(&self) -> Verdict {
        let blocks = self.free.blocks();
        for frame in self.ranges.iter().cloned().flatten() {
            let word = self.words.get(frame);
            prop_assert!(word.is_some());
            let order = (0..ORDERS).find(|order| word.is_some_and(|word| word.is_free(*order)));
            prop_assert_eq!(order, blocks.get(&frame).copied(), "{:#x}", frame);
        }
        Ok(())
    }

    fn take(&mut self, first: usize, count: usize) -> Verdict {
        let run = first..first + count;
        prop_assert!(self.free.take(run.clone()), "{run:x?} was not free");
        self.held.insert(first, count);
        Ok(())
    }

    fn give(&mut self, first: usize, count: usize) {
        self.buddy.dealloc(&self.words, first, count);
        assert!(self.free.give(first..first + count));
    }

    /// One of the runs that are held, which is not any more.
    fn any_held(&mut self, which: usize) -> Option<(usize, usize)> {
        let which = which.checked_rem(self.held.len())?;
        let (first, count) = self.held.iter().nth(which).map(|(a, b)| (*a, *b))?;
        self.held.remove(&first);
        Some((first, count))
    }

    fn go(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Alloc { count, align } => {
                let possible = self.free.has_run(count, align);
                let first = self.buddy.alloc(&self.words, count, align);
                prop_assert_eq!(first.is_some(), possible);
                if let Some(first) = first {
                    prop_assert!(first.is_multiple_of(align));
                    self.take(first, count)?;
                }
            }
            Step::AllocAtMost { order } => {
                let expected = self.free.smallest_order().map(|least| least.min(order));
                let got = self.buddy.alloc_at_most(&self.words, order);
                prop_assert_eq!(got.map(|(_, order)| order), expected);
                if let Some((first, order)) = got {
                    prop_assert!(first.is_multiple_of(1 << order));
                    self.take(first, 1 << order)?;
                }
            }
            Step::Free { which } => {
                if let Some((first, count)) = self.any_held(which) {
                    self.give(first, count);
                }
            }
            Step::FreePart { which, from, count } => {
                if let Some((first, all)) = self.any_held(which) {
                    let from = from % all;
                    let count = 1 + count % (all - from);
                    self.give(first + from, count);
                    let rest = [(first, from), (first + from + count, all - from - count)];
                    self.held
                        .extend(rest.into_iter().filter(|(_, count)| *count > 0));
                }
            }
        }
        prop_assert_eq!(self.buddy.largest(), self.free.largest());
        Ok(())
    }

    fn play(&mut self, script: &[Step]) -> Verdict {
        let whole = FreeFrames::of(&self.ranges);
        for (number, step) in script.iter().enumerate() {
            self.go(step)?;
            if number % 64 == 0 {
                self.is_merged()?;
            }
        }
        self.is_merged()?;
        while let Some((first, count)) = self.any_held(0) {
            self.give(first, count);
        }
        prop_assert_eq!(&self.free, &whole);
        prop_assert_eq!(self.buddy.largest(), whole.largest());
        self.is_merged()
    }
}

/// Ranges of a few frames to a few hundred MiB, with holes inside a GiB, across
/// its end, and of several.
fn ranges() -> impl Strategy<Value = Vec<Range<usize>>> {
    let gap = prop_oneof![4 => size_below(12), 2 => size_below(18), 1 => size_below(22)];
    let length = prop_oneof![4 => 1..40_usize, 4 => size_below(12), 1 => size_below(17)];
    let near_an_end = (0..4_usize, 0..300_usize).prop_map(|(gib, before)| (gib + 1) * GIB - before);
    let base = prop_oneof![Just(0), size_below(12), near_an_end];
    (base, vec((gap, length), 1..6)).prop_map(|(base, pairs)| ranges_of(base, &pairs))
}

proptest! {
    #![proptest_config(scripts(150))]

    #[test]
    fn frames_come_from_free_memory_and_merge_when_they_are_back(
        ranges in ranges(),
        script in vec(step(12), 1..6000),
    ) {
        let mut machine = Machine::with(ranges);
        machine.play(&script)?;
        machine.no_other_word_is_a_free_blocks()?;
    }
}

proptest! {
    #![proptest_config(scripts(4))]

    #[test]
    fn so_it_is_with_64_gib_in_one_piece_and_more(script in vec(step(26), 1..20_000)) {
        let gibs = [1..65 * GIB + 5, 66 * GIB - 3..67 * GIB - 1, 130 * GIB + 77..131 * GIB + 9];
        Machine::with(gibs.to_vec()).play(&script)?;
    }
}

/// A block's other half may lie in a hole, which has words only by the way.
#[test]
fn a_hole_never_becomes_free() {
    let ranges = [0..8, 16..24, 32..40];
    let mut machine = Machine::with(ranges.to_vec());
    assert_eq!(machine.buddy.largest(), 8);
    for _ in 0..24 {
        assert!(
            machine
                .buddy
                .alloc(&machine.words, 1, 1)
                .is_some_and(|frame| frame % 16 < 8)
        );
    }
    assert_eq!(machine.buddy.alloc(&machine.words, 1, 1), None);
    for range in ranges {
        machine
            .buddy
            .dealloc(&machine.words, range.start, range.len());
    }
    machine.is_merged().unwrap();
}

/// Nothing is free, and nothing is so large.
#[test]
fn what_cannot_be_is_refused() {
    let mut machine = Machine::with(Vec::new());
    let (buddy, words) = (&mut machine.buddy, &machine.words);
    assert_eq!(buddy.largest(), 0);
    for order in [0, 24, 25, 31, 32, 63] {
        assert_eq!(buddy.alloc(words, 1 << order, 1), None);
        assert_eq!(buddy.alloc(words, 1, 1 << order), None);
        assert_eq!(buddy.alloc_at_most(words, order), None);
    }
    buddy.dealloc(words, 64, 0);
    assert_eq!(buddy.largest(), 0);

    let mut machine = Machine::with(ranges_of(0, &[(0, 1 << 24)]));
    let (buddy, words) = (&mut machine.buddy, &machine.words);
    assert_eq!(buddy.largest(), 1 << 24);
    for count in [(1 << 24) + 1, 1 << 25, 1 << 40, usize::MAX] {
        assert_eq!(buddy.alloc(words, count, 1), None, "{count}");
    }
    assert_eq!(buddy.alloc(words, 1, 1 << 25), None);
    assert_eq!(buddy.alloc(words, 1 << 24, 1 << 24), Some(0));
}

/// The last number stands for no frame on the lists, so that it must not be one.
#[test]
fn the_end_of_the_numbers_is_no_trap() {
    let end = NIL as usize + 1;
    let mut machine = Machine::with(ranges_of(end - 8, &[(0, 8)]));
    let mut frames = Vec::new();
    while let Some(frame) = machine.buddy.alloc(&machine.words, 1, 1) {
        assert!(frames.len() < 7, "{frame:#x} comes twice");
        frames.push(frame);
    }
    // The last one first, and then one that is no neighbour of it.
    for frame in frames.iter().rev().step_by(2) {
        machine.buddy.dealloc(&machine.words, *frame, 1);
    }
    let mut again = Vec::new();
    while let Some(frame) = machine.buddy.alloc(&machine.words, 1, 1) {
        assert!(again.len() < 4, "{frame:#x} comes twice");
        again.push(frame);
    }
    assert_eq!((frames.len(), again.len()), (7, 4));
}
