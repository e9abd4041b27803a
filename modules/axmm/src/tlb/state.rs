//! Who may remember translations of an address space: which harts, and under
//! which id.
//!
//! A hart's TLB keeps translations of many address spaces side by side, each under
//! its id (ASID; on x86-64, PCID), so that to enter one forgets nothing. An address
//! space gets an id when it is first entered:
//!
//! ```text
//!   id:  generation │ number        next:  generation │ number
//! ```
//!
//! Numbers are given out in order. When they run out the next generation begins:
//! every id of an older one is void, and a hart that enters an address space of a
//! generation newer than the last it has seen forgets everything first. A number
//! may so be two address spaces' on two harts at a time, but never on one.
//!
//! A change is forgotten at once by the harts that are in the address space, and by
//! all others when they enter it next ([`Context::change`]): no hart is disturbed
//! for an address space that it is not in.
//!
//! # Who is asked, and who finds out by itself
//!
//! ```text
//!   changes the table                    enters
//!   ─────────────────                    ──────
//!   writes entries                       own bit into `inside`
//!   all bits into `stale`                own bit out of `stale`; was it in? forgets
//!   reads `inside`, asks those           leaves: own bit out of `inside`
//! ```
//!
//! Each line is one step in an order that all harts agree on. So a hart that enters is
//! seen inside by who changes the table, or finds its mark. Many may change it at the same
//! time: each marks all, and only the hart itself takes its mark away, when it forgets. A
//! hart that was asked has a mark that it needs no more: it forgets the one address space
//! once too often when it comes back. To take that mark from it would be wrong: it may
//! have left before it was asked, and then it needs it.
//!
//! No step waits for another hart; only asking does.

use crate::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Ids are numbers of at most so many bits.
const NUMBER_BITS: u32 = 16;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// Every hart.
const ALL: u64 = u64::MAX;

/// The ids that one machine's harts tell address spaces apart by.
pub struct Ids {
    /// The generation, and the number given out last.
    last: AtomicU64,
    /// The largest number. 0 where there are no ids.
    max: AtomicU64,
}

/// What a hart must forget as it enters an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Nothing.
    Nothing,
    /// What it has under the address space's number.
    Own,
    /// What it has under any number.
    All,
}

/// Which harts may remember translations of one address space.
pub struct Context {
    /// Every hart has entered it, and never leaves it.
    kernel: bool,
    /// 0 before there is one.
    id: AtomicU64,
    /// One bit for each hart that is in it.
    inside: AtomicU64,
    /// Marks: one bit for each hart that is to forget what it knows as it enters next.
    stale: AtomicU64,
}

impl Ids {
    /// Ids up to `max`, none of which has been given out; 0 where there are none.
    #[cfg(not(all(loom, test)))]
    pub const fn new(max: usize) -> Self {
        Self {
            last: AtomicU64::new(1 << NUMBER_BITS),
            max: AtomicU64::new(max as u64),
        }
    }

    /// The same.
    #[cfg(all(loom, test))]
    pub fn new(max: usize) -> Self {
        Self {
            last: AtomicU64::new(1 << NUMBER_BITS),
            max: AtomicU64::new(max as u64),
        }
    }

    /// Sets the largest number, before any has been given out.
    pub fn set_max(&self, max: usize) {
        self.max.store(max as u64 & NUMBER, Relaxed);
    }

    /// Whether there are none.
    fn are_none(&self) -> bool {
        self.max.load(Relaxed) == 0
    }

    /// Whether `id` is of the present generation, or was as this hart looked last: one
    /// hart's view of a word never goes back.
    fn holds(&self, id: u64) -> bool {
        id >> NUMBER_BITS == self.last.load(Relaxed) >> NUMBER_BITS
    }

    /// A number that no address space of the present generation has.
    fn give(&self) -> u64 {
        let max = self.max.load(Relaxed);
        let next = |last| match last & NUMBER < max {
            true => last + 1,
            false => (last | NUMBER) + 1 + max.min(1),
        };
        let before = self
            .last
            .fetch_update(SeqCst, SeqCst, |last| Some(next(last)));
        // The closure always answers.
        next(before.unwrap_or_else(|last| last))
    }
}

impl Context {
    /// The kernel's, which every hart is in.
    pub fn kernel() -> Self {
        Self::new(true)
    }

    /// That of an address space that no hart has entered.
    pub fn user() -> Self {
        Self::new(false)
    }

    fn new(kernel: bool) -> Self {
        Self {
            kernel,
            id: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// Whether it is the kernel's.
    pub fn is_kernel(&self) -> bool {
        self.kernel
    }

    /// `hart` enters, which has seen ids up to `generation`. Answers the number that
    /// it is to know the address space by, and what to forget. Until it does it lets
    /// no interrupt in, and answers nobody: who asks it to forget must find it there.
    ///
    /// # Safety
    ///
    /// `hart` is the one that runs this, which knows nothing that changed before
    /// `generation`, and it forgets what it is told to.
    pub unsafe fn enter(&self, ids: &Ids, hart: usize, generation: &mut u64) -> (usize, Stale) {
        self.inside.fetch_or(1 << hart, SeqCst);
        let marked = self.stale.fetch_and(!(1 << hart), SeqCst) >> hart & 1 != 0;
        let id = self.current_id(ids);
        let stale = if id >> NUMBER_BITS != *generation {
            *generation = id >> NUMBER_BITS;
            Stale::All
        } else if marked || ids.are_none() {
            Stale::Own
        } else {
            Stale::Nothing
        };
        ((id & NUMBER) as usize, stale)
    }

    /// `hart` has left.
    ///
    /// # Safety
    ///
    /// `hart` is the one that runs this, and translates nothing by the address space any
    /// more.
    pub unsafe fn leave(&self, hart: usize) {
        self.inside.fetch_and(!(1 << hart), SeqCst);
    }

    /// Whether no hart is inside.
    pub fn is_left(&self) -> bool {
        self.inside.load(SeqCst) == 0
    }

    /// The table has changed. `ask` makes a set of harts forget, and returns when they
    /// have; all others will as they enter. Others may change it meanwhile.
    pub fn change(&self, ask: impl FnOnce(u64)) {
        if self.kernel {
            return ask(ALL);
        }
        self.stale.store(ALL, SeqCst);
        let inside = self.inside.load(SeqCst);
        if inside != 0 {
            ask(inside);
        }
    }

    fn current_id(&self, ids: &Ids) -> u64 {
        loop {
            let id = self.id.load(SeqCst);
            if ids.holds(id) {
                return id;
            }
            let new = ids.give();
            // Another hart may have entered it, too: its id is as good.
            if self.id.compare_exchange(id, new, SeqCst, SeqCst).is_ok() {
                return new;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, shuttle))]
mod schedules;

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const HARTS: usize = 3;
    const SPACES: usize = 5;
    /// Fewer numbers than spaces, so that generations go by.
    const NUMBERS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A hart enters a space, or, given none, leaves the one it is in.
        Enter(usize, Option<usize>),
        /// A hart makes an access where it is.
        Access(usize),
        /// A space changes.
        Change(usize),
    }

    /// A hart: its TLB, by number, what it has seen, and where it is.
    #[derive(Default)]
    struct Hart {
        tlb: HashMap<usize, (usize, u32)>,
        generation: u64,
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

    /// Runs the steps. Answers how many entries forgot nothing.
    fn run(steps: &[Step], max: usize) -> usize {
        let ids = Ids::new(max);
        let spaces: Vec<(Context, RefCell<u32>)> = (0..SPACES)
            .map(|_| (Context::user(), RefCell::new(0)))
            .collect();
        let mut harts: Vec<Hart> = (0..HARTS).map(|_| Hart::default()).collect();
        let mut kept = 0;
        for step in steps {
            match *step {
                Step::Enter(hart, space) => {
                    if let Some((before, _)) = harts[hart].inside.take() {
                        // SAFETY: the hart is simulated, and makes no access until it
                        // enters again.
                        unsafe { spaces[before].0.leave(hart) };
                    }
                    let Some(space) = space else { continue };
                    let this = &mut harts[hart];
                    // SAFETY: the hart is simulated, and forgets what it is told to here.
                    let (number, stale) =
                        unsafe { spaces[space].0.enter(&ids, hart, &mut this.generation) };
                    assert!(number <= max);
                    assert!(number != 0 || max == 0, "0 is what the kernel's own has");
                    match stale {
                        Stale::Nothing => kept += 1,
                        Stale::Own => drop(this.tlb.remove(&number)),
                        Stale::All => this.tlb.clear(),
                    }
                    this.inside = Some((space, number));
                }
                Step::Access(hart) => {
                    let this = &mut harts[hart];
                    let Some((space, number)) = this.inside else {
                        continue;
                    };
                    let now = (space, *spaces[space].1.borrow());
                    let seen = *this.tlb.entry(number).or_insert(now);
                    assert_eq!(seen, now, "hart {hart} has something else under {number}");
                }
                Step::Change(space) => {
                    *spaces[space].1.borrow_mut() += 1;
                    spaces[space].0.change(|asked| {
                        for (hart, this) in harts.iter_mut().enumerate() {
                            let inside = this.inside.is_some_and(|(there, _)| there == space);
                            assert_eq!(asked & 1 << hart != 0, inside, "hart {hart} is asked");
                            if let Some((_, number)) = this.inside.filter(|_| inside) {
                                this.tlb.remove(&number);
                            }
                        }
                    });
                }
            }
        }
        kept
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_hart_sees_what_is_anothers_or_was(steps in steps()) {
            run(&steps, NUMBERS);
            prop_assert_eq!(run(&steps, 0), 0, "without ids every entry forgets");
        }
    }

    #[test]
    fn going_back_and_forth_forgets_nothing_until_something_changes() {
        let there_and_back = [Step::Enter(0, Some(0)), Step::Enter(0, Some(1))];
        let mut steps: Vec<Step> = there_and_back.repeat(10);
        assert_eq!(
            run(&steps, NUMBERS),
            19,
            "but the first, to a new generation"
        );
        // It changes while the hart is in the other one.
        steps.push(Step::Change(0));
        steps.extend(there_and_back.repeat(10));
        assert_eq!(run(&steps, NUMBERS), 38);
        // And while it is inside: it forgets there and then, and once more.
        steps.push(Step::Change(1));
        steps.extend(there_and_back.repeat(10));
        assert_eq!(run(&steps, NUMBERS), 57);
    }

    #[test]
    fn numbers_go_up_to_the_largest_that_is_set() {
        let ids = Ids::new(0);
        ids.set_max(3);
        let numbers: Vec<u64> = (0..7).map(|_| ids.give() & NUMBER).collect();
        assert_eq!(numbers, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_space_is_left_when_every_hart_has_left_it() {
        let (ids, space) = (Ids::new(NUMBERS), Context::user());
        assert!(space.is_left());
        for hart in [0, 2] {
            // SAFETY: the hart is simulated, and makes no access.
            unsafe { space.enter(&ids, hart, &mut 0) };
        }
        for hart in [0, 2] {
            assert!(!space.is_left());
            // SAFETY: the hart is simulated, and makes no access.
            unsafe { space.leave(hart) };
        }
        assert!(space.is_left());
    }

    #[test]
    fn the_kernels_is_everyones() {
        assert!(Context::kernel().is_kernel());
        assert!(!Context::user().is_kernel());
        let mut asked = 0;
        Context::kernel().change(|harts| asked = harts);
        assert_eq!(asked, u64::MAX);
        Context::user().change(|_| panic!("nobody is inside"));
    }
}
