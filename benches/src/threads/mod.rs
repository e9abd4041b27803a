//! What two threads get done in the time of one, natively, in one run.
//!
//! A load is done by one thread, then a load like it by two threads, each of which does all of
//! it at addresses of its own. A turn lasts from when the first thread begins until the last
//! has ended. The fastest turn counts: other work of the computer makes a turn longer, never
//! shorter. The figure is how many times the work of one thread two threads do in the same
//! time; 2 is perfect.
//!
//! A virtual machine's processors may be hardware threads of one core, or share their cores
//! with other machines, and that changes from one moment to the next. Two threads that share
//! no data at all then do 1.0 to 2.5 times the work of one. So each thread also times a fixed
//! piece of arithmetic before and after its work ([`probe`]). Only turns count in which every
//! thread had a core to itself at both ends. A load that never had one has no figure.
//!
//! Ours and Linux touch as many pages in a turn ([`TOUCHED`]), of 4 KiB each: huge pages
//! are off in the process.

mod frames;
mod linux;
#[cfg(feature = "objects")]
mod objects;
mod ours;

use core::hint::{black_box, spin_loop};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

pub use frames::Pairs;
pub use linux::Linux;
#[cfg(feature = "objects")]
pub use objects::{ObjectFaults, SiblingWrites};
pub use ours::{Apart, Fenced, Ours, Work};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// How many threads are compared with one.
pub const THREADS: usize = 2;

/// Pages that a thread touches in a turn. Each access is a page fault.
const TOUCHED: usize = 1024;

/// Turns with whole cores that are enough, of each number of threads.
const ENOUGH: usize = 30;

/// How long to wait for them.
const LONGEST: Duration = Duration::from_secs(8);

/// Steps of a probe: some 10 us.
const PROBE: usize = 4000;

/// Rounds between two looks whether there are enough.
const ROUNDS: usize = 20;

/// How much longer than the fastest probe one may take on a core of its own, in percent. On a
/// core that another hardware thread uses too it takes 20 to 100 percent longer.
const TOLERANCE: u32 = 3;

/// Work that several threads do at the same time.
pub trait Load: Sync {
    /// Prepares the work of `thread`. Runs on that thread, outside of the measured time.
    fn prepare(&self, thread: usize);

    /// Does the work of `thread`: as much for each thread.
    fn work(&self, thread: usize);

    /// Undoes what `prepare` and `work` have left. Not measured either.
    fn finish(&self, thread: usize);
}

/// The fastest turn of one thread, and of two at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The fastest turn of one thread.
    pub one: Duration,
    /// The fastest turn of two threads.
    pub two: Duration,
}

impl Times {
    /// Returns how many times the work of one thread two threads do in the same time.
    pub fn scaling(&self) -> f64 {
        THREADS as f64 * self.one.as_secs_f64() / self.two.as_secs_f64()
    }

    /// Returns how much longer an operation takes beside another thread, in percent.
    pub fn dearer(&self) -> f64 {
        100.0 * (self.two.as_secs_f64() / self.one.as_secs_f64() - 1.0)
    }
}

/// A processor for each thread.
#[derive(Clone, Copy, Debug)]
pub struct Processors([usize; THREADS]);

impl Processors {
    /// Chooses the first [`THREADS`] processors that this process may run on. `None` if it may
    /// run on fewer.
    pub fn available() -> Option<Self> {
        // SAFETY: `cpu_set_t` is an array of bits, for which zeroes are valid. The call writes
        // at most the size that it is given.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            set
        };
        let all = 0..libc::CPU_SETSIZE as usize;
        // SAFETY: `all` ends below `CPU_SETSIZE`, the size of the set.
        let ours = all.filter(|number| unsafe { libc::CPU_ISSET(*number, &set) });
        let first: Vec<usize> = ours.take(THREADS).collect();
        first.try_into().ok().map(Self)
    }

    /// Moves the calling thread to the processor of `thread`, where it stays.
    fn stay(&self, thread: usize) {
        // SAFETY: zeroes are a valid `cpu_set_t`, the number is below its size by
        // `available`, and the call only reads the set.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(self.0[thread], &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &set);
        }
    }
}

/// Switches huge pages off for this process, whatever the computer's setting: all pages that it
/// maps from now on have 4 KiB, as ours do.
///
/// # Errors
///
/// The error of the system call.
pub fn small_pages_only() -> io::Result<()> {
    // SAFETY: the call changes how later mappings are backed, and no memory that exists.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Times two loads that are alike: the first is one thread's alone. `None` if there never was a
/// core for each thread.
pub fn times(loads: [&impl Load; THREADS], processors: Processors) -> Option<Times> {
    let begin = Instant::now();
    let mut turns: [Vec<Turn>; THREADS] = Default::default();
    loop {
        for _ in 0..ROUNDS {
            for (before, load) in loads.into_iter().enumerate() {
                turns[before].push(turn_of(before + 1, load, processors));
            }
        }
        let undisturbed = turns.iter().flatten().map(|turn| turn.probe).min()?;
        let longest = undisturbed * (100 + TOLERANCE) / 100;
        let mut lengths = turns.iter().map(|turns| {
            let whole = turns.iter().filter(|turn| turn.probe <= longest);
            whole.map(|turn| turn.length)
        });
        let are_enough = lengths.clone().all(|lengths| lengths.count() >= ENOUGH);
        if are_enough || begin.elapsed() > LONGEST {
            let mut fastest = || lengths.next()?.min();
            return Some(Times {
                one: fastest()?,
                two: fastest()?,
            });
        }
    }
}

/// One turn.
#[derive(Clone, Copy)]
struct Turn {
    /// From when the first thread began its work until the last had ended.
    length: Duration,
    /// The longest probe of any thread, before or after its work.
    probe: Duration,
}

/// Lets `threads` do the work at the same time.
fn turn_of(threads: usize, load: &impl Load, processors: Processors) -> Turn {
    let ready = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let first = AtomicU64::new(u64::MAX);
    let last = AtomicU64::new(0);
    let longest = AtomicU64::new(0);
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let (ready, done, first, last, now) = (&ready, &done, &first, &last, &now);
            let longest = &longest;
            scope.spawn(move || {
                processors.stay(thread);
                load.prepare(thread);
                all_at(ready, threads);
                let before = probe();
                first.fetch_min(now(), Ordering::Relaxed);
                load.work(thread);
                last.fetch_max(now(), Ordering::Relaxed);
                let probe = before.max(probe());
                longest.fetch_max(probe.as_nanos() as u64, Ordering::Relaxed);
                all_at(done, threads);
                load.finish(thread);
            });
        }
    });
    Turn {
        length: Duration::from_nanos(last.into_inner() - first.into_inner()),
        probe: Duration::from_nanos(longest.into_inner()),
    }
}

/// Times arithmetic that keeps all arithmetic units of a core busy: eight independent chains.
fn probe() -> Duration {
    let begin = Instant::now();
    let mut chains = [1_u64, 2, 3, 4, 5, 6, 7, 8];
    for _ in 0..PROBE {
        for chain in &mut chains {
            *chain = (chain.rotate_left(5) ^ 0x9e37).wrapping_add(7);
        }
    }
    black_box(chains);
    begin.elapsed()
}

/// Waits in a loop until `threads` threads have called this with `here`.
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

    /// A load whose threads exclude each other by a lock.
    #[derive(Default)]
    struct OneByOne(Mutex<()>);

    /// How long each thread works.
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
    fn a_turn_lasts_until_the_last_thread_has_ended() {
        let processors = Processors([0; THREADS]);
        let load = OneByOne::default();
        assert!(turn_of(1, &load, processors).length >= NAP);
        assert!(turn_of(THREADS, &load, processors).length >= NAP * THREADS as u32);
    }

    #[test]
    fn two_threads_as_fast_as_one_do_twice_the_work() {
        let (one, two) = (Duration::from_micros(10), Duration::from_micros(10));
        assert_eq!(Times { one, two }.scaling(), 2.0);
        assert_eq!(Times { one, two }.dearer(), 0.0);
        let two = Duration::from_micros(20);
        assert_eq!(Times { one, two }.scaling(), 1.0);
        assert_eq!(Times { one, two }.dearer(), 100.0);
    }
}
