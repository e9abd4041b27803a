//! Threads allocate, pass on and free frames at the same time, until no frame is free. They
//! synchronize by barriers and channels, and never by waiting for some time.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Barrier, Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use axalloc::{AxError, Frames, SharedFrames, Usage, UsageKind};
use axalloc::{add_memory, alloc_frame, alloc_frames, host, largest_free_run, usage};
use axconfig::PAGE_SIZE;

mod support;

use support::Numbers;

/// Reduces the number of steps under Miri, which takes thousands of times as long.
const fn fewer(count: usize) -> usize {
    if cfg!(miri) { count / 1000 + 2 } else { count }
}

/// The number of frames of all memory.
const FRAMES: usize = if cfg!(miri) { 256 } else { 2048 };

/// Lets one test run at a time, since each counts all frames.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static TURN: Mutex<()> = Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(1 << 30, FRAMES * PAGE_SIZE).unwrap();
        // SAFETY: the memory stays mapped, and is used for this alone.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    guard
}

/// Calls `f` with the usage while all memory is free, and checks that all is free afterwards.
fn without_leak(f: impl FnOnce(Usage)) {
    let _guard = one_at_a_time();
    let (before, largest) = (usage(), largest_free_run());
    f(before);
    assert_eq!(usage(), before);
    assert_eq!(largest_free_run(), largest);
}

/// A run whose frames hold a stamp that its last writer chose.
struct Stamped {
    run: Frames,
    stamp: u64,
}

impl Stamped {
    fn new(run: Frames, stamp: u64) -> Self {
        let mut stamped = Self { run, stamp };
        stamped.write(stamp);
        stamped
    }

    /// Returns the offsets at which each frame is written: its beginning and its end.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let starts = (0..self.run.count()).map(|frame| frame * PAGE_SIZE);
        starts.flat_map(|start| [start, start + PAGE_SIZE - 8])
    }

    fn write(&mut self, stamp: u64) {
        self.stamp = stamp;
        for place in self.places() {
            let bytes = (stamp + place as u64).to_le_bytes();
            self.run.as_bytes_mut()[place..place + 8].copy_from_slice(&bytes);
        }
    }

    fn check(&self) {
        for place in self.places() {
            let bytes = (self.stamp + place as u64).to_le_bytes();
            let found = &self.run.as_bytes()[place..place + 8];
            assert_eq!(found, bytes, "{:?} at {place:#x}", self.run);
        }
    }
}

/// One of several threads in a ring. Each passes runs on to the next.
struct Worker {
    number: usize,
    next: Sender<Stamped>,
    previous: Receiver<Stamped>,
    held: Vec<Stamped>,
    numbers: Numbers,
    stamps: u64,
}

impl Worker {
    /// Makes a worker for each of `threads` threads.
    fn ring(threads: usize) -> Vec<Self> {
        let (mut next, previous): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel()).unzip();
        next.rotate_left(1);
        let ends = next.into_iter().zip(previous).enumerate();
        let workers = ends.map(|(number, (next, previous))| Self {
            number,
            next,
            previous,
            held: Vec::new(),
            numbers: Numbers::from_seed(number as u64 + 1),
            stamps: (number as u64) << 48,
        });
        workers.collect()
    }

    fn kind(&mut self) -> UsageKind {
        UsageKind::ALL[self.numbers.below(UsageKind::COUNT)]
    }

    fn stamp(&mut self) -> u64 {
        self.stamps += 1 << 24;
        self.stamps
    }

    fn alloc(&mut self, count: usize) {
        let kind = self.kind();
        let run = match count {
            1 => alloc_frame(kind),
            _ => alloc_frames(count, PAGE_SIZE, kind),
        };
        if let Ok(run) = run {
            let stamp = self.stamp();
            self.held.push(Stamped::new(run, stamp));
        }
    }

    /// Removes one of the runs that this worker holds, checks it and returns it.
    fn remove_any(&mut self) -> Option<Stamped> {
        let which = match self.held.len() {
            0 => return None,
            len => self.numbers.below(len),
        };
        let stamped = self.held.swap_remove(which);
        stamped.check();
        Some(stamped)
    }

    fn step(&mut self) {
        match self.numbers.below(16) {
            0..6 => self.alloc(1),
            6..8 => {
                let count = 1 + self.numbers.below(40);
                self.alloc(count);
            }
            8..13 => drop(self.remove_any()),
            13..15 => {
                if let Some(stamped) = self.remove_any() {
                    // The test frees the runs that are left in the channel at the end.
                    self.next.send(stamped).unwrap();
                }
            }
            _ => {
                for mut stamped in self.previous.try_iter().collect::<Vec<_>>() {
                    stamped.check();
                    let stamp = self.stamp();
                    stamped.write(stamp);
                    self.held.push(stamped);
                }
            }
        }
        // A worker that holds too much frees most of it, so that others find memory again.
        if self.held.len() > 200 {
            self.held.truncate(20);
        }
    }
}

fn threads_pass_frames_around(threads: usize, steps: usize) {
    without_leak(|before| {
        let barrier = Barrier::new(threads);
        let workers = thread::scope(|scope| {
            let workers = Worker::ring(threads).into_iter().map(|mut worker| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    (0..steps).for_each(|_| worker.step());
                    worker
                })
            });
            let workers: Vec<_> = workers.collect();
            let workers = workers.into_iter().map(|worker| worker.join().unwrap());
            workers.collect::<Vec<_>>()
        });
        let mut frames = HashSet::new();
        let mut count = 0;
        for worker in &workers {
            let sent: Vec<_> = worker.previous.try_iter().collect();
            for stamped in worker.held.iter().chain(&sent) {
                stamped.check();
                let first = stamped.run.start().as_usize() / PAGE_SIZE;
                frames.extend(first..first + stamped.run.count());
                count += stamped.run.count();
            }
            assert_eq!(
                frames.len(),
                count,
                "a frame of worker {} has two owners",
                worker.number
            );
            drop(sent);
        }
        let held = workers.iter().flat_map(|worker| &worker.held);
        let held: usize = held.map(|stamped| stamped.run.count()).sum();
        assert_eq!(usage().free, before.free - held);
    });
}

#[test]
fn two_threads_pass_frames_around() {
    threads_pass_frames_around(2, fewer(60_000));
}

#[test]
fn four_threads_pass_frames_around() {
    threads_pass_frames_around(4, fewer(30_000));
}

/// Allocates all free frames one by one.
fn drain() -> Vec<Frames> {
    std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok()).collect()
}

/// All threads allocate single frames until no frame is free. Then usage must say so.
fn threads_drain_memory(threads: usize, rounds: usize) {
    without_leak(|before| {
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            for number in 0..threads {
                let barrier = &barrier;
                scope.spawn(move || {
                    for round in 0..rounds {
                        barrier.wait();
                        // Half of the threads allocate some runs first.
                        let mut runs = Vec::new();
                        while (number + round) % 2 == 0 && runs.len() < 20 {
                            let Ok(run) = alloc_frames(7, PAGE_SIZE, UsageKind::Dma) else {
                                break;
                            };
                            runs.push(run);
                        }
                        let frames = drain();
                        barrier.wait();
                        assert_eq!(usage().free, 0);
                        // All threads have checked the usage before any of them frees.
                        barrier.wait();
                        drop((runs, frames));
                        barrier.wait();
                        assert_eq!(usage(), before);
                    }
                });
            }
        });
    });
}

#[test]
fn two_threads_drain_memory_at_once() {
    threads_drain_memory(2, fewer(40));
}

#[test]
fn four_threads_drain_memory_at_once() {
    threads_drain_memory(4, fewer(20));
}

#[test]
fn a_thread_gets_the_frames_of_another_once_they_are_freed() {
    without_leak(|before| {
        let (give, given) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let all = drain();
                assert_eq!(all.len(), before.free);
                tell.send(()).unwrap();
                given.recv().unwrap();
                // As many as fit are cached by this thread.
                drop(all);
                tell.send(()).unwrap();
                // The thread does not end, so it still has its cache while the other drains it.
                given.recv().unwrap();
            });
            told.recv().unwrap();
            for _ in 0..10 {
                assert_eq!(
                    alloc_frame(UsageKind::Global).err(),
                    Some(AxError::NoMemory)
                );
                let run = alloc_frames(2, PAGE_SIZE, UsageKind::Global);
                assert_eq!(run.err(), Some(AxError::NoMemory));
            }
            give.send(()).unwrap();
            told.recv().unwrap();
            let all = drain();
            assert_eq!(all.len(), before.free);
            give.send(()).unwrap();
        });
    });
}

/// One thread allocates and frees all frames one by one. Another allocates the longest run.
#[test]
fn frames_cached_by_one_thread_become_a_run_of_another() {
    without_leak(|_| {
        let largest = largest_free_run();
        let (tell, told) = mpsc::channel::<()>();
        let (give, given) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                drop(drain());
                tell.send(()).unwrap();
                given.recv().unwrap();
            });
            told.recv().unwrap();
            let run = alloc_frames(largest, PAGE_SIZE, UsageKind::Dma).unwrap();
            assert_eq!(run.count(), largest);
            give.send(()).unwrap();
        });
    });
}

/// Several threads share one run, and each drops its references.
#[test]
fn a_shared_run_is_freed_once_by_its_last_owner() {
    without_leak(|before| {
        for round in 0..fewer(500) {
            let run = alloc_frames(1 + round % 5, PAGE_SIZE, UsageKind::Object).unwrap();
            let count = run.count();
            let shared = run.into_shared();
            let barrier = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..4 {
                    let mine = shared.share().unwrap();
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        let more = [(); 5].map(|()| mine.share().unwrap());
                        drop(mine);
                        let raw = more.map(SharedFrames::into_raw);
                        for start in raw {
                            // SAFETY: `into_raw` has just returned this address.
                            drop(unsafe { SharedFrames::from_raw(start) });
                        }
                    });
                }
            });
            assert_eq!(shared.references(), 1);
            assert_eq!(usage().of(UsageKind::Object), count);
            let owned = shared.try_unique().unwrap();
            assert_eq!(owned.count(), count);
            drop(owned);
            assert_eq!(usage(), before);
        }
    });
}

/// There are as many free frames as threads, and each thread holds at most one. So each always
/// finds one, whichever hart caches it.
#[test]
fn no_frame_is_refused_while_a_hart_caches_one() {
    const THREADS: usize = 4;
    const ROUNDS: usize = fewer(100_000);
    without_leak(|before| {
        let rest = before.free - THREADS;
        let _held: Vec<Frames> = (0..rest)
            .map(|_| alloc_frame(UsageKind::Global).unwrap())
            .collect();
        let refused = || {
            let refused = |_: &usize| alloc_frame(UsageKind::Global).is_err();
            (0..ROUNDS).filter(refused).count()
        };
        let counts: Vec<usize> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(refused)).collect();
            let counts = threads.into_iter().map(|thread| thread.join().unwrap());
            counts.collect()
        });
        assert_eq!(counts, [0; THREADS], "of {ROUNDS} each");
    });
}

#[test]
fn only_contiguous_runs_of_one_kind_can_be_joined() {
    without_leak(|_| {
        let run = alloc_frames(5, PAGE_SIZE, UsageKind::VirtMem).unwrap();
        let start = run.start();
        let (first, second) = run.split_at(2).unwrap();
        let (second, first) = second.join(first).unwrap_err();
        let run = first.join(second).unwrap();
        assert_eq!((run.start(), run.count()), (start, 5));
        let other = alloc_frame(UsageKind::Object).unwrap();
        assert!(run.join(other).is_err());
    });
}
