//! Compares the buddy system with a simple model of free memory. The RAM does not exist, since
//! the buddy system accesses only metadata.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{Buddy, ORDERS};
use crate::metadata::MetadataTable;
use crate::metadata::{FrameMeta, NO_FRAME};

#[path = "../../tests/support/mod.rs"]
pub mod support;

use support::{FreeFrames, ranges_of, scripts, size_below};

type Verdict = Result<(), TestCaseError>;

/// The number of frames of a GiB, which have an array of metadata of their own.
const GIB: usize = 1 << 18;

/// A step of a script. `which`, `from` and `count` are taken modulo what is possible.
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

/// A buddy system, and the model of what it should contain.
struct Machine {
    buddy: Buddy,
    table: Box<MetadataTable>,
    ranges: Vec<Range<usize>>,
    free: FreeFrames,
    held: BTreeMap<usize, usize>,
    /// The memory of the metadata. It is declared last, so it is dropped after the table.
    _memory: Vec<FrameMeta>,
}

impl Machine {
    fn with(ranges: Vec<Range<usize>>) -> Self {
        let table = Box::new(MetadataTable::new());
        let missing = table.missing(ranges.iter().cloned());
        let mut memory = Vec::with_capacity(missing.max(1));
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the memory has room for `missing` records and is used for them alone. It is
        // dropped after the table, and is not moved by moves of the vector.
        unsafe { table.publish(ranges.iter().cloned(), start) };
        let mut buddy = Buddy::new();
        let covered = ranges.into_iter().flat_map(|range| table.covered(range));
        let ranges: Vec<_> = covered.collect();
        for range in &ranges {
            buddy.dealloc(&table, range.start, range.len());
        }
        Self {
            buddy,
            table,
            free: FreeFrames::of(&ranges),
            ranges,
            held: BTreeMap::new(),
            _memory: memory,
        }
    }

    /// Returns the free blocks on the lists, with their orders, and checks each link.
    fn blocks(&self) -> Result<BTreeMap<usize, usize>, TestCaseError> {
        let mut blocks = BTreeMap::new();
        for order in 0..ORDERS {
            let (mut before, mut at) = (NO_FRAME, self.buddy.lists[order]);
            prop_assert_eq!(self.buddy.non_empty >> order & 1 == 1, at != NO_FRAME);
            while at != NO_FRAME {
                let meta = self.table.get(at as usize);
                prop_assert!(meta.is_some_and(|meta| meta.is_free(order)), "{at:#x}");
                let (prev, next) = meta.map_or((NO_FRAME, NO_FRAME), FrameMeta::links);
                prop_assert_eq!(prev, before, "of {:#x}", at);
                let twice = blocks.insert(at as usize, order);
                prop_assert_eq!(twice, None, "{:#x} is on two lists", at);
                (before, at) = (at, next);
            }
        }
        Ok(blocks)
    }

    /// Checks that the lists have exactly the blocks of free memory that is merged as far as
    /// possible.
    fn check_merged(&self) -> Verdict {
        prop_assert_eq!(self.blocks()?, self.free.blocks());
        Ok(())
    }

    /// Checks that only the first frames of free blocks have the metadata of one.
    fn check_metadata(&self) -> Verdict {
        let blocks = self.free.blocks();
        for frame in self.ranges.iter().cloned().flatten() {
            let meta = self.table.get(frame);
            prop_assert!(meta.is_some());
            let order = (0..ORDERS).find(|order| meta.is_some_and(|meta| meta.is_free(*order)));
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
        self.buddy.dealloc(&self.table, first, count);
        assert!(self.free.give(first..first + count));
    }

    /// Removes one of the allocated runs from the model and returns it.
    fn remove_held(&mut self, which: usize) -> Option<(usize, usize)> {
        let which = which.checked_rem(self.held.len())?;
        let (first, count) = self.held.iter().nth(which).map(|(a, b)| (*a, *b))?;
        self.held.remove(&first);
        Some((first, count))
    }

    fn run_step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Alloc { count, align } => {
                let possible = self.free.has_run(count, align);
                let first = self.buddy.alloc(&self.table, count, align);
                prop_assert_eq!(first.is_some(), possible);
                if let Some(first) = first {
                    prop_assert!(first.is_multiple_of(align));
                    self.take(first, count)?;
                }
            }
            Step::AllocAtMost { order } => {
                let expected = self.free.smallest_order().map(|least| least.min(order));
                let got = self.buddy.alloc_at_most(&self.table, order);
                prop_assert_eq!(got.map(|(_, order)| order), expected);
                if let Some((first, order)) = got {
                    prop_assert!(first.is_multiple_of(1 << order));
                    self.take(first, 1 << order)?;
                }
            }
            Step::Free { which } => {
                if let Some((first, count)) = self.remove_held(which) {
                    self.give(first, count);
                }
            }
            Step::FreePart { which, from, count } => {
                if let Some((first, all)) = self.remove_held(which) {
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

    fn run(&mut self, script: &[Step]) -> Verdict {
        let whole = FreeFrames::of(&self.ranges);
        for (number, step) in script.iter().enumerate() {
            self.run_step(step)?;
            if number % 64 == 0 {
                self.check_merged()?;
            }
        }
        self.check_merged()?;
        while let Some((first, count)) = self.remove_held(0) {
            self.give(first, count);
        }
        prop_assert_eq!(&self.free, &whole);
        prop_assert_eq!(self.buddy.largest(), whole.largest());
        self.check_merged()
    }
}

/// Ranges of a few frames to a few hundred MiB. The holes between them are within a GiB, across
/// its end, or longer than a GiB.
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
    fn runs_come_from_free_memory_and_merge_when_freed(
        ranges in ranges(),
        script in vec(step(12), 1..6000),
    ) {
        let mut machine = Machine::with(ranges);
        machine.run(&script)?;
        machine.check_metadata()?;
    }
}

proptest! {
    #![proptest_config(scripts(4))]

    #[test]
    fn ranges_of_64_gib_and_more_work(script in vec(step(26), 1..20_000)) {
        let gibs = [1..65 * GIB + 5, 66 * GIB - 3..67 * GIB - 1, 130 * GIB + 77..131 * GIB + 9];
        Machine::with(gibs.to_vec()).run(&script)?;
    }
}

/// The buddy of a block may be in a hole, whose frames have metadata as well.
#[test]
fn a_hole_never_becomes_free() {
    let ranges = [0..8, 16..24, 32..40];
    let mut machine = Machine::with(ranges.to_vec());
    assert_eq!(machine.buddy.largest(), 8);
    for _ in 0..24 {
        assert!(
            machine
                .buddy
                .alloc(&machine.table, 1, 1)
                .is_some_and(|frame| frame % 16 < 8)
        );
    }
    assert_eq!(machine.buddy.alloc(&machine.table, 1, 1), None);
    for range in ranges {
        machine
            .buddy
            .dealloc(&machine.table, range.start, range.len());
    }
    machine.check_merged().unwrap();
}

/// A request may be larger than all memory, or than the largest order.
#[test]
fn a_request_that_is_too_large_is_refused() {
    let mut machine = Machine::with(Vec::new());
    let (buddy, table) = (&mut machine.buddy, &machine.table);
    assert_eq!(buddy.largest(), 0);
    for order in [0, 24, 25, 31, 32, 63] {
        assert_eq!(buddy.alloc(table, 1 << order, 1), None);
        assert_eq!(buddy.alloc(table, 1, 1 << order), None);
        assert_eq!(buddy.alloc_at_most(table, order), None);
    }
    buddy.dealloc(table, 64, 0);
    assert_eq!(buddy.largest(), 0);

    let mut machine = Machine::with(ranges_of(0, &[(0, 1 << 24)]));
    let (buddy, table) = (&mut machine.buddy, &machine.table);
    assert_eq!(buddy.largest(), 1 << 24);
    for count in [(1 << 24) + 1, 1 << 25, 1 << 40, usize::MAX] {
        assert_eq!(buddy.alloc(table, count, 1), None, "{count}");
    }
    assert_eq!(buddy.alloc(table, 1, 1 << 25), None);
    assert_eq!(buddy.alloc(table, 1 << 24, 1 << 24), Some(0));
}

/// On the lists this number means "no frame", so a frame of this number must not be used.
#[test]
fn the_frame_with_the_number_no_frame_is_never_given_out() {
    let end = NO_FRAME as usize + 1;
    let mut machine = Machine::with(ranges_of(end - 8, &[(0, 8)]));
    let mut frames = Vec::new();
    while let Some(frame) = machine.buddy.alloc(&machine.table, 1, 1) {
        assert!(frames.len() < 7, "{frame:#x} is given out twice");
        frames.push(frame);
    }
    // From the last frame down, every second one, so that no two of them merge.
    for frame in frames.iter().rev().step_by(2) {
        machine.buddy.dealloc(&machine.table, *frame, 1);
    }
    let mut again = Vec::new();
    while let Some(frame) = machine.buddy.alloc(&machine.table, 1, 1) {
        assert!(again.len() < 4, "{frame:#x} is given out twice");
        again.push(frame);
    }
    assert_eq!((frames.len(), again.len()), (7, 4));
}
