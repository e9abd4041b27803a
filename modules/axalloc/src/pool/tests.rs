//! The pool against a plain model, with harts that a script chooses.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use axconfig::PAGE_SIZE;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{BATCH, FramePool};
use crate::UsageKind;
use crate::hart::Harts;
use crate::host::physical_memory;
use crate::stock::{self, Stock};

#[path = "../../tests/support/harts.rs"]
pub mod harts;

use crate::buddy::tests::support::{FreeFrames, ranges_of, scripts, size_below};
use harts::{HARTS, TestHarts};

type Verdict = Result<(), TestCaseError>;

/// Physical memory from 4 GiB on, for one test at a time.
const BASE: usize = 4 << 30;
const SIZE: usize = 2 << 30;

fn memory() -> MutexGuard<'static, bool> {
    static MAPPED: Mutex<bool> = Mutex::new(false);
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*mapped {
        physical_memory(BASE, SIZE).unwrap();
        *mapped = true;
    }
    mapped
}

/// A pool of `ranges` of frames, which lie in `memory`.
fn pool_of<H: Harts>(harts: H, ranges: &[Range<usize>]) -> Box<FramePool<H>> {
    let pool = Box::new(FramePool::new(harts));
    let bytes = ranges
        .iter()
        .map(|r| r.start * PAGE_SIZE..r.end * PAGE_SIZE);
    // SAFETY: the caller has the memory alone, and has done with other pools.
    unsafe { pool.add(&bytes.collect::<Vec<_>>()) }.unwrap();
    pool
}

#[derive(Clone, Debug)]
enum Step {
    One {
        hart: usize,
        kind: usize,
    },
    Run {
        hart: usize,
        count: usize,
        align: usize,
        kind: usize,
    },
    Free {
        hart: usize,
        which: usize,
    },
    FreeSome {
        hart: usize,
        which: usize,
        count: usize,
    },
    TakeMany {
        hart: usize,
        count: usize,
        kind: usize,
    },
    Largest,
}

fn step() -> impl Strategy<Value = Step> {
    let (hart, kind) = (0..HARTS, 0..UsageKind::COUNT);
    let (which, align) = (any::<usize>(), (0..8_u32).prop_map(|order| 1 << order));
    prop_oneof![
        8 => (hart.clone(), kind.clone()).prop_map(|(hart, kind)| Step::One { hart, kind }),
        4 => (hart.clone(), size_below(9), align, kind.clone())
            .prop_map(|(hart, count, align, kind)| Step::Run { hart, count, align, kind }),
        8 => (hart.clone(), which).prop_map(|(hart, which)| Step::Free { hart, which }),
        1 => (hart.clone(), which, 0..150_usize)
            .prop_map(|(hart, which, count)| Step::FreeSome { hart, which, count }),
        1 => (hart, 0..150_usize, kind)
            .prop_map(|(hart, count, kind)| Step::TakeMany { hart, count, kind }),
        1 => Just(Step::Largest),
    ]
}

/// A pool, and what it should be.
struct Machine {
    pool: Box<FramePool<TestHarts>>,
    free: FreeFrames,
    whole: FreeFrames,
    held: BTreeMap<usize, (usize, UsageKind)>,
    metadata: usize,
    total: usize,
    used: [usize; UsageKind::COUNT],
}

impl Machine {
    fn with(ranges: &[Range<usize>]) -> Result<Self, TestCaseError> {
        let pool = pool_of(TestHarts::new(), ranges);
        let total = ranges.iter().map(Range::len).sum();
        // The words of all frames from the first of a GiB to its last.
        let mut spans = BTreeMap::<usize, Range<usize>>::new();
        for frame in ranges.iter().cloned().flatten() {
            let span = spans.entry(frame >> 18).or_insert(frame..frame);
            span.end = frame + 1;
        }
        let words: usize = spans.values().map(Range::len).sum();
        let metadata = (words * 8).div_ceil(PAGE_SIZE);
        let home = ranges.iter().find(|range| range.len() >= metadata).unwrap();
        let mut free = FreeFrames::of(ranges);
        assert!(free.take(home.start..home.start + metadata));
        let machine = Self {
            pool,
            whole: free.clone(),
            free,
            held: BTreeMap::new(),
            metadata,
            total,
            used: [0; UsageKind::COUNT],
        };
        machine.usage_is_right()?;
        prop_assert_eq!(machine.pool.largest(), machine.free.largest());
        Ok(machine)
    }

    fn usage_is_right(&self) -> Verdict {
        let usage = self.pool.usage();
        prop_assert_eq!(usage.total, self.total);
        prop_assert_eq!(usage.free, self.free.count());
        for kind in UsageKind::ALL {
            let own = match kind {
                UsageKind::Metadata => self.metadata,
                _ => 0,
            };
            prop_assert_eq!(usage.of(kind), own + self.used[kind as usize], "{:?}", kind);
        }
        Ok(())
    }

    fn take(&mut self, first: usize, count: usize, kind: UsageKind) -> Verdict {
        let run = first..first + count;
        prop_assert!(self.free.take(run.clone()), "{run:x?} was not free");
        self.held.insert(first, (count, kind));
        self.used[kind as usize] += count;
        Ok(())
    }

    /// Takes one frame; `None` exactly if none is free anywhere.
    fn one(&mut self, kind: UsageKind) -> Verdict {
        let first = self.pool.alloc_one(kind);
        prop_assert_eq!(first.is_some(), self.free.count() > 0);
        first.map_or(Ok(()), |first| self.take(first, 1, kind))
    }

    fn free_any(&mut self, which: usize) -> bool {
        let Some(which) = which.checked_rem(self.held.len()) else {
            return false;
        };
        let (first, (count, kind)) = self.held.iter().nth(which).map(|(a, b)| (*a, *b)).unwrap();
        self.held.remove(&first);
        match count {
            1 => self.pool.free_one(first, kind),
            // Of some runs each frame has been another's.
            _ if which.is_multiple_of(2) => self.pool.free_singles(first, count, kind),
            _ => self.pool.free_run(first, count, kind),
        }
        self.used[kind as usize] -= count;
        assert!(self.free.give(first..first + count));
        true
    }

    fn go(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::One { hart, kind } => {
                self.pool.harts().go_to(hart);
                self.one(UsageKind::ALL[kind])?;
            }
            Step::TakeMany { hart, count, kind } => {
                self.pool.harts().go_to(hart);
                for _ in 0..count {
                    self.one(UsageKind::ALL[kind])?;
                }
            }
            Step::Run {
                hart,
                count,
                align,
                kind,
            } => {
                self.pool.harts().go_to(hart);
                let possible = self.free.has_run(count, align);
                let first = self.pool.alloc_run(count, align, UsageKind::ALL[kind]);
                prop_assert_eq!(first.is_some(), possible);
                if let Some(first) = first {
                    prop_assert!(first.is_multiple_of(align));
                    self.take(first, count, UsageKind::ALL[kind])?;
                }
            }
            Step::Free { hart, which } => {
                self.pool.harts().go_to(hart);
                self.free_any(which);
            }
            Step::FreeSome { hart, which, count } => {
                self.pool.harts().go_to(hart);
                for _ in 0..count {
                    self.free_any(which);
                }
            }
            Step::Largest => prop_assert_eq!(self.pool.largest(), self.free.largest()),
        }
        self.usage_is_right()
    }

    fn play(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.go(step)?;
        }
        prop_assert_eq!(self.pool.largest(), self.free.largest());
        let mut hart = 0;
        while self.free_any(0) {
            hart += 1;
            self.pool.harts().go_to(hart);
        }
        prop_assert_eq!(&self.free, &self.whole);
        prop_assert_eq!(self.pool.largest(), self.whole.largest());
        self.usage_is_right()
    }
}

/// Up to a few thousand frames with holes, around the end of a GiB.
fn ranges() -> impl Strategy<Value = Vec<Range<usize>>> {
    let length = prop_oneof![1..20_usize, 100..900_usize];
    let pairs = vec((1..200_usize, length), 0..4);
    (0..900_usize, 64..500_usize, pairs).prop_map(|(before, first, mut pairs)| {
        pairs.insert(0, (0, first));
        ranges_of((BASE + (1 << 30)) / PAGE_SIZE - before, &pairs)
    })
}

proptest! {
    #![proptest_config(scripts(80))]

    #[test]
    fn frames_are_counted_and_none_is_refused_while_one_is_free(
        ranges in ranges(),
        script in vec(step(), 1..4000),
    ) {
        let _memory = memory();
        Machine::with(&ranges)?.play(&script)?;
    }
}

/// All frames of a small pool, on whichever hart they are.
fn drain<H: Harts>(pool: &FramePool<H>) -> Vec<usize> {
    std::iter::from_fn(|| pool.alloc_one(UsageKind::Global)).collect()
}

#[test]
fn a_hart_gets_what_all_others_keep() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let pool = pool_of(TestHarts::new(), &ranges_of(first, &[(0, 200)]));
    let all = drain(&pool).len();
    assert_eq!(all, 199, "one has the words");
    // A magazine full on each hart, and nothing in the buddy system.
    let frames = first + 1..first + 1 + HARTS * stock::FRAMES;
    for (number, frame) in frames.clone().enumerate() {
        pool.harts().go_to(number / stock::FRAMES);
        pool.free_one(frame, UsageKind::Global);
    }
    assert_eq!(pool.buddy.lock().largest(), 0);
    pool.harts().go_to(1);
    assert_eq!(drain(&pool).len(), frames.len());
    assert_eq!(pool.usage().free, 0);
}

#[test]
fn a_run_is_made_of_what_harts_keep() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let pool = pool_of(TestHarts::new(), &ranges_of(first, &[(0, 65)]));
    assert_eq!(drain(&pool).len(), 64);
    for frame in first + 32..first + 64 {
        pool.harts().go_to(frame);
        pool.free_one(frame, UsageKind::Global);
    }
    assert_eq!(pool.buddy.lock().largest(), 0);
    let run = pool.alloc_run(32, 32, UsageKind::Dma);
    assert_eq!(run, Some(first + 32));
}

/// Many frames in a row go back without the buddy system, and come out as they lie.
#[test]
fn a_hart_keeps_rows() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let pool = pool_of(TestHarts::new(), &ranges_of(first, &[(0, 2048)]));
    let count = BATCH * stock::ROWS;
    let run = pool.alloc_run(count, 1, UsageKind::VirtMem).unwrap();
    let rest = drain_runs(&pool);
    pool.free_singles(run, count, UsageKind::VirtMem);
    assert_eq!(pool.buddy.lock().largest(), 0, "the hart has them");
    assert_eq!(pool.usage().free, count);
    let one = || pool.alloc_one(UsageKind::VirtMem);
    assert!((run..run + BATCH + 5).all(|frame| one() == Some(frame)));
    pool.harts().go_to(1);
    assert_eq!(
        drain(&pool).len(),
        count - BATCH - 5,
        "another hart gets all"
    );
    pool.free_singles(run, count, UsageKind::VirtMem);
    pool.free_singles(rest.start, rest.len(), UsageKind::Global);
    assert!(pool.buddy.lock().largest() > 0, "there is no room for all");
}

/// All frames of the buddy system, which are one run.
fn drain_runs(pool: &FramePool<TestHarts>) -> Range<usize> {
    let mut all: Option<Range<usize>> = None;
    loop {
        let count = pool.buddy.lock().largest();
        if count == 0 {
            return all.unwrap_or_default();
        }
        let run = pool.alloc_run(count, 1, UsageKind::Global).unwrap();
        all = Some(match all {
            Some(all) => run.min(all.start)..(run + count).max(all.end),
            None => run..run + count,
        });
    }
}

/// RAM that comes later is as good, and usage counts it.
#[test]
fn memory_can_come_later() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let pool = pool_of(
        TestHarts::new(),
        &[first..first + 64, first + 600..first + 664],
    );
    let largest = pool.largest();
    let gib = 1 << 18;
    let later = (first + gib) * PAGE_SIZE..(first + gib + 1024) * PAGE_SIZE;
    // SAFETY: it is in `memory`, and this test has it alone.
    unsafe { pool.add(std::slice::from_ref(&later)) }.unwrap();
    assert_eq!(pool.usage().total, 64 + 64 + 1024);
    assert!(pool.largest() > largest);
    let words = pool.usage().of(UsageKind::Metadata);
    assert_eq!(words, 2 + 2, "of 664 frames, and of 1024");
    assert_eq!(drain(&pool).len(), 64 + 64 + 1024 - words);
}

/// No range is long enough for the words of all frames: nothing changes.
#[test]
fn memory_without_room_for_its_words_is_refused() {
    let _memory = memory();
    let start = BASE;
    let pool = FramePool::new(TestHarts::new());
    // From the first frame to the last there are 2 * 512 and more.
    let ranges = [0, 600, 1200].map(|frame| start + frame * PAGE_SIZE);
    let ranges = ranges.map(|start| start + 1..start + 2 * PAGE_SIZE + 5);
    // SAFETY: they are in `memory`, and this test has it alone.
    assert!(unsafe { pool.add(&ranges) }.is_err());
    assert_eq!((pool.usage().total, pool.largest()), (0, 0));
}

/// Harts that are threads.
struct Threads([Stock; 2]);

thread_local! {
    static THREAD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Harts for Threads {
    fn with_this<R>(&self, f: impl FnOnce(&Stock) -> R) -> R {
        f(&self.0[THREAD.get()])
    }

    fn for_each(&self, f: impl FnMut(&Stock)) {
        self.0.iter().for_each(f);
    }
}

/// While another empties all magazines, over and over, a hart that wants one of
/// many free frames still gets one each time.
#[test]
fn a_hart_that_is_stolen_from_all_the_time_is_not_refused() {
    const ROUNDS: usize = 200_000;
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let harts = Threads([const { Stock::new() }; 2]);
    let pool = pool_of(harts, &ranges_of(first, &[(0, 9)]));
    let done = AtomicUsize::new(0);
    let refused = thread::scope(|scope| {
        scope.spawn(|| {
            THREAD.set(1);
            while done.load(Ordering::Relaxed) == 0 {
                pool.largest();
            }
        });
        let refused = (0..ROUNDS).filter(|_| match pool.alloc_one(UsageKind::Global) {
            Some(frame) => {
                pool.free_one(frame, UsageKind::Global);
                false
            }
            None => true,
        });
        let refused = refused.count();
        done.store(1, Ordering::Relaxed);
        refused
    });
    assert_eq!(refused, 0, "of {ROUNDS}");
    assert_eq!(pool.largest(), 4, "none is lost");
}
