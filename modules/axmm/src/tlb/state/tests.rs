//! Random steps of simulated harts that enter, use and change address spaces.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const HARTS: usize = 3;
const SPACES: usize = 5;
/// The largest ASID: fewer than address spaces, so that generations end.
const MAX_ASID: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A hart enters an address space, or leaves the one that it is in.
    Enter(usize, Option<usize>),
    /// A hart makes an access in the address space that it is in.
    Access(usize),
    /// The page table of an address space changes.
    Change(usize),
}

/// A simulated hart.
#[derive(Default)]
struct Hart {
    /// For each ASID: the address space, and the version of its page table.
    tlb: HashMap<usize, (usize, u32)>,
    generation: u64,
    /// The address space that the hart is in, and its ASID.
    inside: Option<(usize, usize)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..HARTS, prop::option::weighted(0.8, 0..SPACES))
            .prop_map(|(hart, space)| Step::Enter(hart, space)),
        (0..HARTS).prop_map(Step::Access),
        (0..SPACES).prop_map(Step::Change),
    ];
    prop::collection::vec(step, 1..200)
}

/// The simulated harts and address spaces.
struct Simulation {
    asids: AsidAllocator,
    max_asid: usize,
    /// Each with the version of its page table.
    spaces: Vec<(TlbState, RefCell<u32>)>,
    harts: Vec<Hart>,
    /// How often a hart entered without a flush.
    entries_without_flush: usize,
}

impl Simulation {
    fn new(max_asid: usize) -> Self {
        Self {
            asids: AsidAllocator::new(max_asid),
            max_asid,
            spaces: (0..SPACES)
                .map(|_| (TlbState::user(), RefCell::new(0)))
                .collect(),
            harts: (0..HARTS).map(|_| Hart::default()).collect(),
            entries_without_flush: 0,
        }
    }

    fn enter(&mut self, hart: usize, space: Option<usize>) {
        let this = &mut self.harts[hart];
        if let Some((before, _)) = this.inside.take() {
            // SAFETY: the hart is simulated, and makes no access until it enters again.
            unsafe { self.spaces[before].0.leave(hart) };
        }
        let Some(space) = space else { return };
        let state = &self.spaces[space].0;
        // SAFETY: the hart is simulated, and flushes what is returned below.
        let (asid, flush) = unsafe { state.enter(&self.asids, hart, &mut this.generation) };
        assert!(asid <= self.max_asid);
        assert!(
            asid != 0 || self.max_asid == 0,
            "the ASID 0 is the kernel's"
        );
        match flush {
            FlushOnEntry::Nothing => self.entries_without_flush += 1,
            FlushOnEntry::Asid => drop(this.tlb.remove(&asid)),
            FlushOnEntry::Everything => this.tlb.clear(),
        }
        this.inside = Some((space, asid));
    }

    fn access(&mut self, hart: usize) {
        let this = &mut self.harts[hart];
        let Some((space, asid)) = this.inside else {
            return;
        };
        let now = (space, *self.spaces[space].1.borrow());
        let found = *this.tlb.entry(asid).or_insert(now);
        assert_eq!(found, now, "hart {hart} uses a stale entry of ASID {asid}");
    }

    fn change(&mut self, space: usize) {
        let Self { spaces, harts, .. } = self;
        *spaces[space].1.borrow_mut() += 1;
        spaces[space].0.shoot_down(|requested| {
            for (hart, this) in harts.iter_mut().enumerate() {
                let inside = this.inside.is_some_and(|(there, _)| there == space);
                let is_requested = requested & 1 << hart != 0;
                assert_eq!(is_requested, inside, "a request to hart {hart}");
                if let Some((_, asid)) = this.inside.filter(|_| inside) {
                    this.tlb.remove(&asid);
                }
            }
        });
    }
}

/// Runs the steps. Returns how often a hart entered without a flush.
fn run(steps: &[Step], max_asid: usize) -> usize {
    let mut simulation = Simulation::new(max_asid);
    for step in steps {
        match *step {
            Step::Enter(hart, space) => simulation.enter(hart, space),
            Step::Access(hart) => simulation.access(hart),
            Step::Change(space) => simulation.change(space),
        }
    }
    simulation.entries_without_flush
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_hart_uses_a_stale_or_foreign_translation(steps in steps()) {
        run(&steps, MAX_ASID);
        prop_assert_eq!(run(&steps, 0), 0, "without ASIDs every entry flushes");
    }
}

#[test]
fn entering_flushes_only_after_a_change() {
    let there_and_back = [Step::Enter(0, Some(0)), Step::Enter(0, Some(1))];
    let mut steps: Vec<Step> = there_and_back.repeat(10);
    assert_eq!(
        run(&steps, MAX_ASID),
        19,
        "only the first entry flushes, for a new generation"
    );
    // The address space changes while the hart is in the other one: one flush.
    steps.push(Step::Change(0));
    steps.extend(there_and_back.repeat(10));
    assert_eq!(run(&steps, MAX_ASID), 38);
    // It changes while the hart is inside: a flush at once, and one at the next entry.
    steps.push(Step::Change(1));
    steps.extend(there_and_back.repeat(10));
    assert_eq!(run(&steps, MAX_ASID), 57);
}

#[test]
fn harts_are_inside_until_each_has_left() {
    let (asids, state) = (AsidAllocator::new(MAX_ASID), TlbState::user());
    assert!(!state.has_harts_inside());
    for hart in [0, 2] {
        // SAFETY: the hart is simulated, and makes no access.
        unsafe { state.enter(&asids, hart, &mut 0) };
    }
    for hart in [0, 2] {
        assert!(state.has_harts_inside());
        // SAFETY: the hart is simulated, and makes no access.
        unsafe { state.leave(hart) };
    }
    assert!(!state.has_harts_inside());
}

#[test]
fn a_change_of_the_kernels_table_is_flushed_by_all_harts() {
    assert!(TlbState::kernel().is_kernel());
    assert!(!TlbState::user().is_kernel());
    let mut requested = 0;
    TlbState::kernel().shoot_down(|harts| requested = harts);
    assert_eq!(requested, u64::MAX);
    TlbState::user().shoot_down(|_| panic!("no hart is inside"));
}
