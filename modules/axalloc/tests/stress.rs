//! Threads that take, pass on, and give back frames all at once, down to the last
//! one. Nothing here waits for time to pass: threads meet at barriers and channels.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Barrier, Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use axalloc::{AxError, Frames, SharedFrames, Usage, UsageKind};
use axalloc::{add_memory, alloc_frame, alloc_frames, host, largest_free_run, usage};
use axconfig::PAGE_SIZE;

mod support;

use support::Numbers;

/// Miri takes thousands of times as long.
const fn fewer(count: usize) -> usize {
    if cfg!(miri) { count / 1000 + 2 } else { count }
}

/// Frames of all memory.
const FRAMES: usize = if cfg!(miri) { 256 } else { 2048 };

/// One test at a time: each counts all frames.
fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(1 << 30, FRAMES * PAGE_SIZE).unwrap();
        // SAFETY: it is mapped for good, and for nothing else.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    alone
}

/// Calls `f` with all memory free, and looks whether it is so afterwards.
fn leaving_no_trace(f: impl FnOnce(Usage)) {
    let _alone = alone();
    let (before, largest) = (usage(), largest_free_run());
    f(before);
    assert_eq!(usage(), before);
    assert_eq!(largest_free_run(), largest);
}

/// A run whose frames hold what only its last writer knows.
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

    /// Where each frame is written: at its beginning and its end.
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

/// One thread of many, which passes runs on to the next.
struct Worker {
    number: usize,
    next: Sender<Stamped>,
    from_before: Receiver<Stamped>,
    held: Vec<Stamped>,
    numbers: Numbers,
    stamps: u64,
}

impl Worker {
    /// As many as there are threads, in a ring.
    fn ring(threads: usize) -> Vec<Self> {
        let (mut next, from_before): (Vec<_>, Vec<_>) =
            (0..threads).map(|_| mpsc::channel()).unzip();
        next.rotate_left(1);
        let ends = next.into_iter().zip(from_before).enumerate();
        let workers = ends.map(|(number, (next, from_before))| Self {
            number,
            next,
            from_before,
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

    /// Any of the runs it holds, which is as it was left.
    fn any(&mut self) -> Option<Stamped> {
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
            8..13 => drop(self.any()),
            13..15 => {
                if let Some(stamped) = self.any() {
                    // The last ones are left in the channel.
                    self.next.send(stamped).unwrap();
                }
            }
            _ => {
                for mut stamped in self.from_before.try_iter().collect::<Vec<_>>() {
                    stamped.check();
                    let stamp = self.stamp();
                    stamped.write(stamp);
                    self.held.push(stamped);
                }
            }
        }
        // Not all memory for ever.
        if self.held.len() > 200 {
            self.held.truncate(20);
        }
    }
}

fn threads_pass_frames_around(threads: usize, steps: usize) {
    leaving_no_trace(|before| {
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
            let sent: Vec<_> = worker.from_before.try_iter().collect();
            for stamped in worker.held.iter().chain(&sent) {
                stamped.check();
                let first = stamped.run.start().as_usize() / PAGE_SIZE;
                frames.extend(first..first + stamped.run.count());
                count += stamped.run.count();
            }
            assert_eq!(
                frames.len(),
                count,
                "one of worker {}'s is another's",
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

/// All frames that can be had, one by one.
fn drain() -> Vec<Frames> {
    std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok()).collect()
}

/// All threads take one by one until nothing is left: then each frame is somebody's.
fn threads_drain_memory(threads: usize, rounds: usize) {
    leaving_no_trace(|before| {
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            for number in 0..threads {
                let barrier = &barrier;
                scope.spawn(move || {
                    for round in 0..rounds {
                        barrier.wait();
                        // Some of it in runs.
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
                        // Nobody frees before all have looked.
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
fn what_one_thread_has_another_cannot_get_and_gets_all_of_it_afterwards() {
    leaving_no_trace(|before| {
        let (give, given) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let all = drain();
                assert_eq!(all.len(), before.free);
                tell.send(()).unwrap();
                given.recv().unwrap();
                // Into this thread's magazine, as far as it goes.
                drop(all);
                tell.send(()).unwrap();
                // Its magazine is still its own when the other drains memory.
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

/// The same with what has been taken one by one and is wanted in one piece.
#[test]
fn what_one_thread_keeps_becomes_another_ones_run() {
    leaving_no_trace(|_| {
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

/// Threads share one run, and each lets go of it: it goes once, with the last.
#[test]
fn a_shared_run_goes_with_the_last_of_many_threads() {
    leaving_no_trace(|before| {
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
                            // SAFETY: it has just been given away.
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

/// As many frames as there are threads that hold one at a time: none is ever
/// refused, whoever's magazine the others lie in.
#[test]
fn no_frame_is_refused_while_one_is_idle() {
    const THREADS: usize = 4;
    const ROUNDS: usize = fewer(100_000);
    leaving_no_trace(|before| {
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

/// Only what follows is joined, and only of the same kind.
#[test]
fn a_run_that_was_split_can_be_joined() {
    leaving_no_trace(|_| {
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
