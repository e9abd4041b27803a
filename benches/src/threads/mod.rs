//! What two threads get done beside what one gets done, natively, in one run.
//!
//! Each thread has a processor to itself. A load is done by one thread alone, then by
//! two at a time that each do all of it in places of their own, and so on in turns; a
//! thread's time is that of its fastest turn, so that what else the computer does counts
//! as little as can be. The figure is how many times the work of one thread two do in
//! the time: 2 is perfect.

mod frames;
mod linux;
mod ours;

use core::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use frames::Pairs;
pub use linux::Linux;
pub use ours::{Fenced, Ours, Work};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// As many threads are compared with one.
pub const THREADS: usize = 2;

/// Turns of each number of threads.
const TURNS: usize = 400;

/// A load that threads do side by side.
pub trait Load: Sync {
    /// Makes ready what `thread` works on.
    fn prepare(&self, thread: usize);

    /// Does the work of `thread`, the same for each.
    fn work(&self, thread: usize);

    /// Puts away what there is.
    fn finish(&self, thread: usize);
}

/// The fastest turn of one thread alone, and of the slower of two.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Of one alone.
    pub one: Duration,
    /// Of two at a time.
    pub two: Duration,
}

impl Times {
    /// How many times the work of one two do in the same time.
    pub fn scaling(&self) -> f64 {
        THREADS as f64 * self.one.as_secs_f64() / self.two.as_secs_f64()
    }

    /// How much dearer an operation is at two, in percent.
    pub fn dearer(&self) -> f64 {
        100.0 * (self.two.as_secs_f64() / self.one.as_secs_f64() - 1.0)
    }
}

/// Times a load.
pub fn times(load: &impl Load) -> Times {
    let mut best = [Duration::MAX; THREADS];
    for turn in 0..TURNS * THREADS {
        let threads = turn % THREADS + 1;
        best[threads - 1] = best[threads - 1].min(turn_of(threads, load));
    }
    Times {
        one: best[0],
        two: best[1],
    }
}

/// How long it takes until the last of `threads` is done.
fn turn_of(threads: usize, load: &impl Load) -> Duration {
    let ready = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let longest = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (ready, done, longest) = (&ready, &done, &longest);
            scope.spawn(move || {
                stay_on(thread);
                load.prepare(thread);
                all_at(ready, threads);
                let begin = Instant::now();
                load.work(thread);
                let nanos = begin.elapsed().as_nanos() as u64;
                longest.fetch_max(nanos, Ordering::Relaxed);
                all_at(done, threads);
                load.finish(thread);
            });
        }
    });
    Duration::from_nanos(longest.into_inner())
}

/// Waits, without sleep, until so many threads have come here.
fn all_at(here: &AtomicUsize, threads: usize) {
    here.fetch_add(1, Ordering::AcqRel);
    while here.load(Ordering::Acquire) < threads {
        spin_loop();
    }
}

/// Keeps the calling thread on one processor. Where that cannot be, the kernel puts
/// threads where it likes.
fn stay_on(processor: usize) {
    // SAFETY: a set of processors is bits, and zeroes are a set; the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
