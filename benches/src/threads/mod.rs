//! What two threads get done beside what one gets done, natively, in one run.
//!
//! Each thread has a processor to itself. A load is done by one thread alone, then one
//! like it by two at a time that each do all of it in places of their own, and so on in
//! turns: what an address space becomes where threads meet costs the one nothing. A
//! turn is as long as from when the first thread begins until the last has ended, and
//! the fastest turn counts: what else the computer does makes turns longer, never
//! shorter, and the first ones, in which all memory is new, are not among the fastest.
//! Two threads are disturbed more often than one, so the figure is rather too low. It is
//! how many times the work of one thread two do in the time: 2 is perfect.
//!
//! Ours and Linux touch as many pages in a turn ([`TOUCHED`]), of 4 KiB each: huge pages
//! are off in the process.

mod frames;
mod linux;
mod ours;

use core::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

pub use frames::Pairs;
pub use linux::Linux;
pub use ours::{Fenced, Ours, Work};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// As many threads are compared with one.
pub const THREADS: usize = 2;

/// Pages that a thread touches in a turn, each for the first time.
const TOUCHED: usize = 1024;

/// Turns of each number of threads.
const TURNS: usize = 200;

/// A load that threads do side by side.
pub trait Load: Sync {
    /// Makes ready what `thread` works on.
    fn prepare(&self, thread: usize);

    /// Does the work of `thread`, the same for each.
    fn work(&self, thread: usize);

    /// Puts away what there is.
    fn finish(&self, thread: usize);
}

/// The fastest turn of one thread alone, and of two at a time.
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

/// A processor for each thread.
#[derive(Clone, Copy, Debug)]
pub struct Processors([usize; THREADS]);

impl Processors {
    /// The first of those that this process may run on. `None` where there are fewer than
    /// [`THREADS`].
    pub fn available() -> Option<Self> {
        // SAFETY: a set of processors is bits, and zeroes are a set, which the call fills.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            set
        };
        let all = 0..libc::CPU_SETSIZE as usize;
        // SAFETY: the number is below the set's size.
        let ours = all.filter(|number| unsafe { libc::CPU_ISSET(*number, &set) });
        let first: Vec<usize> = ours.take(THREADS).collect();
        first.try_into().ok().map(Self)
    }

    /// Keeps the calling thread on the processor of `thread`.
    fn stay(&self, thread: usize) {
        // SAFETY: zeroes are a set, the number is below its size, and the call only
        // reads it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(self.0[thread], &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &set);
        }
    }
}

/// Makes every page that this process maps from now on a page of 4 KiB, as ours are,
/// whatever the computer's setting.
///
/// # Errors
///
/// Why that cannot be.
pub fn small_pages_only() -> io::Result<()> {
    // SAFETY: it concerns mappings of this process to come, and none of what they hold.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Times two loads that are alike: the first is one thread's alone.
pub fn times(loads: [&impl Load; THREADS], processors: Processors) -> Times {
    let mut best = [Duration::MAX; THREADS];
    for _ in 0..TURNS {
        for (before, load) in loads.into_iter().enumerate() {
            best[before] = best[before].min(turn_of(before + 1, load, processors));
        }
    }
    Times {
        one: best[0],
        two: best[1],
    }
}

/// How long it takes from when the first of `threads` begins until the last is done.
fn turn_of(threads: usize, load: &impl Load, processors: Processors) -> Duration {
    let ready = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let first = AtomicU64::new(u64::MAX);
    let last = AtomicU64::new(0);
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let (ready, done, first, last, now) = (&ready, &done, &first, &last, &now);
            scope.spawn(move || {
                processors.stay(thread);
                load.prepare(thread);
                all_at(ready, threads);
                first.fetch_min(now(), Ordering::Relaxed);
                load.work(thread);
                last.fetch_max(now(), Ordering::Relaxed);
                all_at(done, threads);
                load.finish(thread);
            });
        }
    });
    Duration::from_nanos(last.into_inner() - first.into_inner())
}

/// Waits, without sleep, until so many threads have come here.
fn all_at(here: &AtomicUsize, threads: usize) {
    here.fetch_add(1, Ordering::AcqRel);
    while here.load(Ordering::Acquire) < threads {
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Threads that work only one after the other, the second while the first one waits.
    #[derive(Default)]
    struct OneByOne(Mutex<()>);

    /// How long each works.
    const NAP: Duration = Duration::from_millis(2);

    impl Load for OneByOne {
        fn prepare(&self, _: usize) {}

        fn work(&self, _: usize) {
            let _alone = self.0.lock();
            thread::sleep(NAP);
        }

        fn finish(&self, _: usize) {}
    }

    #[test]
    fn a_turn_lasts_until_the_last_is_done() {
        let processors = Processors([0; THREADS]);
        let load = OneByOne::default();
        assert!(turn_of(1, &load, processors) >= NAP);
        assert!(turn_of(THREADS, &load, processors) >= NAP * THREADS as u32);
    }

    #[test]
    fn as_much_in_the_same_time_is_twice_the_work() {
        let (one, two) = (Duration::from_micros(10), Duration::from_micros(10));
        assert_eq!(Times { one, two }.scaling(), 2.0);
        assert_eq!(Times { one, two }.dearer(), 0.0);
        let two = Duration::from_micros(20);
        assert_eq!(Times { one, two }.scaling(), 1.0);
        assert_eq!(Times { one, two }.dearer(), 100.0);
    }
}
