//! Compares the frame allocator with a simple model. A script chooses the hart of each step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use axconfig::PAGE_SIZE;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::FrameAllocator;
use crate::UsageKind;
use crate::hart_cache::{BATCH, HartCache, MAX_FRAMES, MAX_RUNS};
use crate::harts::Harts;
use crate::host::physical_memory;

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

/// Makes an allocator of `ranges` of frames, which are in the memory from [`BASE`] on. The caller
/// holds the lock of [`memory`], and has dropped earlier allocators.
fn allocator_of<H: Harts>(harts: H, ranges: &[Range<usize>]) -> Box<FrameAllocator<H>> {
    let allocator = Box::new(FrameAllocator::new(harts));
    let bytes = ranges
        .iter()
        .map(|r| r.start * PAGE_SIZE..r.end * PAGE_SIZE);
    // SAFETY: the memory is mapped. The caller has exclusive use of it, by the lock.
    unsafe { allocator.add(&bytes.collect::<Vec<_>>()) }.unwrap();
    allocator
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

/// An allocator, and the model of what it should contain.
struct Machine {
    allocator: Box<FrameAllocator<TestHarts>>,
    free: FreeFrames,
    /// What is free when all is freed.
    all: FreeFrames,
    held: BTreeMap<usize, (usize, UsageKind)>,
    metadata: usize,
    total: usize,
    used: [usize; UsageKind::COUNT],
}

impl Machine {
    fn with(ranges: &[Range<usize>]) -> Result<Self, TestCaseError> {
        let allocator = allocator_of(TestHarts::new(), ranges);
        let total = ranges.iter().map(Range::len).sum();
        // There is metadata for all frames from the first of a GiB to its last.
        let mut spans = BTreeMap::<usize, Range<usize>>::new();
        for frame in ranges.iter().cloned().flatten() {
            let span = spans.entry(frame >> 18).or_insert(frame..frame);
            span.end = frame + 1;
        }
        let records: usize = spans.values().map(Range::len).sum();
        let metadata = (records * 8).div_ceil(PAGE_SIZE);
        let home = ranges.iter().find(|range| range.len() >= metadata).unwrap();
        let mut free = FreeFrames::of(ranges);
        assert!(free.take(home.start..home.start + metadata));
        let machine = Self {
            allocator,
            all: free.clone(),
            free,
            held: BTreeMap::new(),
            metadata,
            total,
            used: [0; UsageKind::COUNT],
        };
        machine.check_usage()?;
        prop_assert_eq!(machine.allocator.largest_free_run(), machine.free.largest());
        Ok(machine)
    }

    fn check_usage(&self) -> Verdict {
        let usage = self.allocator.usage();
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

    /// Takes one frame, which must be refused exactly if no frame is free.
    fn take_one(&mut self, kind: UsageKind) -> Verdict {
        let first = self.allocator.alloc_one(kind);
        prop_assert_eq!(first.is_some(), self.free.count() > 0);
        first.map_or(Ok(()), |first| self.take(first, 1, kind))
    }

    /// Frees one of the runs in use. Returns `false` if there is no such run.
    fn free_any(&mut self, which: usize) -> bool {
        let Some(which) = which.checked_rem(self.held.len()) else {
            return false;
        };
        let (first, (count, kind)) = self.held.iter().nth(which).map(|(a, b)| (*a, *b)).unwrap();
        self.held.remove(&first);
        match count {
            1 => self.allocator.free_one(first, kind),
            // Some runs are freed as if each frame had been a single one.
            _ if which.is_multiple_of(2) => self.allocator.free_singles(first, count, kind),
            _ => self.allocator.free_run(first, count, kind),
        }
        self.used[kind as usize] -= count;
        assert!(self.free.give(first..first + count));
        true
    }

    fn run_step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::One { hart, kind } => {
                self.allocator.harts().switch_to(hart);
                self.take_one(UsageKind::ALL[kind])?;
            }
            Step::TakeMany { hart, count, kind } => {
                self.allocator.harts().switch_to(hart);
                for _ in 0..count {
                    self.take_one(UsageKind::ALL[kind])?;
                }
            }
            Step::Run {
                hart,
                count,
                align,
                kind,
            } => {
                self.allocator.harts().switch_to(hart);
                let possible = self.free.has_run(count, align);
                let first = self.allocator.alloc_run(count, align, UsageKind::ALL[kind]);
                prop_assert_eq!(first.is_some(), possible);
                if let Some(first) = first {
                    prop_assert!(first.is_multiple_of(align));
                    self.take(first, count, UsageKind::ALL[kind])?;
                }
            }
            Step::Free { hart, which } => {
                self.allocator.harts().switch_to(hart);
                self.free_any(which);
            }
            Step::FreeSome { hart, which, count } => {
                self.allocator.harts().switch_to(hart);
                for _ in 0..count {
                    self.free_any(which);
                }
            }
            Step::Largest => {
                prop_assert_eq!(self.allocator.largest_free_run(), self.free.largest())
            }
        }
        self.check_usage()
    }

    fn run(&mut self, script: &[Step]) -> Verdict {
        for step in script {
            self.run_step(step)?;
        }
        prop_assert_eq!(self.allocator.largest_free_run(), self.free.largest());
        let mut hart = 0;
        while self.free_any(0) {
            hart += 1;
            self.allocator.harts().switch_to(hart);
        }
        prop_assert_eq!(&self.free, &self.all);
        prop_assert_eq!(self.allocator.largest_free_run(), self.all.largest());
        self.check_usage()
    }
}

/// Ranges of up to a few thousand frames with holes, around the end of a GiB.
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
    fn usage_is_exact_and_no_frame_is_refused_while_one_is_free(
        ranges in ranges(),
        script in vec(step(), 1..4000),
    ) {
        let _memory = memory();
        Machine::with(&ranges)?.run(&script)?;
    }
}

/// Takes all free frames of a small allocator, whichever hart caches them.
fn drain<H: Harts>(allocator: &FrameAllocator<H>) -> Vec<usize> {
    std::iter::from_fn(|| allocator.alloc_one(UsageKind::Global)).collect()
}

#[test]
fn a_hart_gets_the_frames_that_all_others_cache() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let allocator = allocator_of(TestHarts::new(), &ranges_of(first, &[(0, 200)]));
    let all = drain(&allocator).len();
    assert_eq!(all, 199, "one frame has the metadata");
    // The magazine of each hart is full, and the global pool is empty.
    let frames = first + 1..first + 1 + HARTS * MAX_FRAMES;
    for (number, frame) in frames.clone().enumerate() {
        allocator.harts().switch_to(number / MAX_FRAMES);
        allocator.free_one(frame, UsageKind::Global);
    }
    assert_eq!(allocator.global_pool.lock().largest(), 0);
    allocator.harts().switch_to(1);
    assert_eq!(drain(&allocator).len(), frames.len());
    assert_eq!(allocator.usage().free, 0);
}

#[test]
fn a_run_is_made_of_frames_that_harts_cache() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let allocator = allocator_of(TestHarts::new(), &ranges_of(first, &[(0, 65)]));
    assert_eq!(drain(&allocator).len(), 64);
    for frame in first + 32..first + 64 {
        allocator.harts().switch_to(frame);
        allocator.free_one(frame, UsageKind::Global);
    }
    assert_eq!(allocator.global_pool.lock().largest(), 0);
    let run = allocator.alloc_run(32, 32, UsageKind::Dma);
    assert_eq!(run, Some(first + 32));
}

/// Many contiguous frames are freed without the global pool, and are taken again in ascending
/// order.
#[test]
fn a_hart_caches_runs() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let allocator = allocator_of(TestHarts::new(), &ranges_of(first, &[(0, 2048)]));
    let count = BATCH * MAX_RUNS;
    let run = allocator.alloc_run(count, 1, UsageKind::VirtMem).unwrap();
    let rest = drain_pool(&allocator);
    allocator.free_singles(run, count, UsageKind::VirtMem);
    assert_eq!(
        allocator.global_pool.lock().largest(),
        0,
        "the hart caches them"
    );
    assert_eq!(allocator.usage().free, count);
    let one = || allocator.alloc_one(UsageKind::VirtMem);
    assert!((run..run + BATCH + 5).all(|frame| one() == Some(frame)));
    allocator.harts().switch_to(1);
    assert_eq!(
        drain(&allocator).len(),
        count - BATCH - 5,
        "another hart gets all frames"
    );
    allocator.free_singles(run, count, UsageKind::VirtMem);
    allocator.free_singles(rest.start, rest.len(), UsageKind::Global);
    assert!(
        allocator.global_pool.lock().largest() > 0,
        "some do not fit into the cache"
    );
}

/// Takes all frames of the global pool, which are contiguous, and returns them as a run.
fn drain_pool(allocator: &FrameAllocator<TestHarts>) -> Range<usize> {
    let mut all: Option<Range<usize>> = None;
    loop {
        let count = allocator.global_pool.lock().largest();
        if count == 0 {
            return all.unwrap_or_default();
        }
        let run = allocator.alloc_run(count, 1, UsageKind::Global).unwrap();
        all = Some(match all {
            Some(all) => run.min(all.start)..(run + count).max(all.end),
            None => run..run + count,
        });
    }
}

#[test]
fn memory_that_is_added_later_is_used_and_counted() {
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let allocator = allocator_of(
        TestHarts::new(),
        &[first..first + 64, first + 600..first + 664],
    );
    let largest = allocator.largest_free_run();
    let gib = 1 << 18;
    let later = (first + gib) * PAGE_SIZE..(first + gib + 1024) * PAGE_SIZE;
    // SAFETY: the range is in mapped memory, which this test uses exclusively.
    unsafe { allocator.add(std::slice::from_ref(&later)) }.unwrap();
    assert_eq!(allocator.usage().total, 64 + 64 + 1024);
    assert!(allocator.largest_free_run() > largest);
    let metadata = allocator.usage().of(UsageKind::Metadata);
    assert_eq!(metadata, 2 + 2, "for 664 frames and for 1024");
    assert_eq!(drain(&allocator).len(), 64 + 64 + 1024 - metadata);
}

/// No range is long enough for the metadata of all frames.
#[test]
fn memory_without_room_for_its_metadata_is_refused() {
    let _memory = memory();
    let start = BASE;
    let allocator = FrameAllocator::new(TestHarts::new());
    // From the first frame to the last there are more than 2 * 512 frames, so the metadata
    // takes three frames.
    let ranges = [0, 600, 1200].map(|frame| start + frame * PAGE_SIZE);
    let ranges = ranges.map(|start| start + 1..start + 2 * PAGE_SIZE + 5);
    // SAFETY: the ranges are in mapped memory, which this test uses exclusively.
    assert!(unsafe { allocator.add(&ranges) }.is_err());
    assert_eq!(
        (allocator.usage().total, allocator.largest_free_run()),
        (0, 0)
    );
}

/// A hart with a cache that may not be asked for under the lock of the global pool.
struct OutsideOfPool(HartCache);

static OUTSIDE_OF_POOL: FrameAllocator<OutsideOfPool> =
    FrameAllocator::new(OutsideOfPool(HartCache::new()));

impl Harts for OutsideOfPool {
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R {
        assert!(!OUTSIDE_OF_POOL.global_pool.is_locked());
        f(&self.0)
    }

    fn for_each_cache(&self, mut f: impl FnMut(&HartCache)) {
        f(&self.0);
    }
}

/// Threads of a host may share a cache, under a lock. That lock comes before the global pool's.
#[test]
fn no_cache_is_asked_for_under_the_lock_of_the_global_pool() {
    let _memory = memory();
    let allocator = &OUTSIDE_OF_POOL;
    let range = BASE..BASE + 300 * PAGE_SIZE;
    // SAFETY: the range is in mapped memory, which this test uses exclusively.
    unsafe { allocator.add(std::slice::from_ref(&range)) }.unwrap();
    assert_eq!(allocator.usage().of(UsageKind::Metadata), 1);
    let run = allocator.alloc_run(99, 1, UsageKind::Dma).unwrap();
    for frame in drain(allocator) {
        allocator.free_one(frame, UsageKind::Global);
    }
    allocator.free_run(run, 9, UsageKind::Dma);
    allocator.free_singles(run + 9, 90, UsageKind::Dma);
    assert_eq!(allocator.largest_free_run(), 128);
    assert_eq!(allocator.usage().free, 299);
}

/// Two harts, each of them a thread.
struct Threads([HartCache; 2]);

thread_local! {
    static THREAD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Harts for Threads {
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R {
        f(&self.0[THREAD.get()])
    }

    fn for_each_cache(&self, f: impl FnMut(&HartCache)) {
        self.0.iter().for_each(f);
    }
}

/// Another hart drains all magazines again and again. There are always free frames.
#[test]
fn a_hart_whose_frames_are_stolen_all_the_time_is_not_refused() {
    const ROUNDS: usize = 200_000;
    let _memory = memory();
    let first = BASE / PAGE_SIZE;
    let harts = Threads([const { HartCache::new() }; 2]);
    let allocator = allocator_of(harts, &ranges_of(first, &[(0, 9)]));
    let done = AtomicUsize::new(0);
    let refused = thread::scope(|scope| {
        scope.spawn(|| {
            THREAD.set(1);
            while done.load(Ordering::Relaxed) == 0 {
                allocator.largest_free_run();
            }
        });
        let refused = (0..ROUNDS).filter(|_| match allocator.alloc_one(UsageKind::Global) {
            Some(frame) => {
                allocator.free_one(frame, UsageKind::Global);
                false
            }
            None => true,
        });
        let refused = refused.count();
        done.store(1, Ordering::Relaxed);
        refused
    });
    assert_eq!(refused, 0, "of {ROUNDS}");
    assert_eq!(allocator.largest_free_run(), 4, "no frame is lost");
}
