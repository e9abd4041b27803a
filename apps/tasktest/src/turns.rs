//! How threads take turns.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::memory::{MappingFlags, SharedAspace, USER_BASE, new_user_aspace};
use axstd::os::arceos::modules::axhal::arch::IrqsOff;
use axstd::os::arceos::modules::axhal::irq::timer_ticks;
use axstd::os::arceos::modules::axhal::threads::NoPreempt;
use axstd::os::arceos::modules::axhal::time::{monotonic_time_nanos, set_oneshot_timer};
use axstd::sync::{Arc, Condvar, Mutex};
use axstd::thread::{self, Builder, JoinHandle};
use axstd::time::{Duration, Instant};
use axstd::{harts, io};

use crate::report::{Outcome, Report, check};

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("turns: in order", in_order);
    report.test("turns: sleep", sleep);
    report.test("turns: many sleepers", sleepers);
    report.test("turns: taken from who spins", preempted);
    report.test("turns: kept by a NoPreempt", kept);
    report.test("turns: floating point is kept", floats);
    report.test("turns: user spaces are kept", spaces);
}

fn here<F, T>(work: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().hart(harts::current()).spawn(work)
}

fn said(error: io::Error) -> String {
    format!("{error:?}")
}

/// Of threads of one hart that yield none comes twice before all others have come. A hart
/// may be taken from one that is not done, so a round may be torn; but not all of them.
fn in_order() -> Outcome {
    const THREADS: usize = 5;
    const ROUNDS: usize = 40;
    let turns = Arc::new(Mutex::new(Vec::new()));
    let threads = (0..THREADS).map(|n| {
        let turns = turns.clone();
        here(move || {
            for _ in 0..ROUNDS {
                turns.lock().push(n);
                thread::yield_now();
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.and_then(JoinHandle::join).map_err(said)?;
    }
    let turns = turns.lock();
    let each_once = |row: &&[usize]| (0..THREADS).all(|n| row.contains(&n));
    let rows = turns.windows(THREADS);
    let (all, right) = (rows.len(), rows.filter(each_once).count());
    check(turns.len() == THREADS * ROUNDS, || {
        format!("{} turns", turns.len())
    })?;
    check(right * 4 > all * 3, || format!("{right} of {turns:?}"))?;
    Ok(format!("each once in {right} of {all} rows of {THREADS}"))
}

fn sleep() -> Outcome {
    for micros in [0, 1, 50, 1_000, 20_000] {
        let wanted = Duration::from_micros(micros);
        let start = Instant::now();
        thread::sleep(wanted);
        let took = start.elapsed();
        check(took >= wanted, || format!("{took:?} of {wanted:?}"))?;
    }
    // A permit that an earlier test has left.
    thread::park_timeout(Duration::ZERO);
    let start = Instant::now();
    thread::park_timeout(Duration::from_millis(5));
    let took = start.elapsed();
    check(took >= Duration::from_millis(5), || {
        format!("parked for {took:?}")
    })?;
    Ok("5 times, none too short".to_string())
}

/// Threads that wait for the longest time there is keep no other sleeper of their
/// hart from waking, and can be woken themselves.
pub fn endless_sleep() -> Outcome {
    let here = || Builder::new().hart(thread::current().hart());
    let failed = |error| format!("{error:?}");
    let sleeper = here().spawn(|| thread::sleep(Duration::MAX));
    let sleeper = sleeper.map_err(failed)?;
    let parked = here().spawn(|| thread::park_timeout(Duration::MAX));
    let parked = parked.map_err(failed)?;
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let timed_out = thread::scope(|scope| {
        let waiting = here().spawn_scoped(scope, || {
            let guard = mutex.lock();
            condvar.wait_timeout(guard, Duration::MAX).1.timed_out()
        });
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(2));
            // Longer than a turn: the timer is set for the others alone meanwhile.
            let end = Instant::now() + Duration::from_millis(15);
            while Instant::now() < end {
                spin_loop();
            }
        }
        let waiting = waiting.map_err(failed)?;
        while !waiting.is_finished() {
            condvar.notify_one();
            thread::yield_now();
        }
        waiting.join().map_err(failed)
    })?;
    let ended = sleeper.is_finished() || parked.is_finished();
    parked.thread().unpark();
    parked.join().map_err(failed)?;
    check(!timed_out && !ended, || {
        format!("timed out: {timed_out}, ended: {ended}")
    })?;
    Ok("beside 3 sleeps of 2 ms".to_string())
}

/// Those that sleep longer wake later, whoever went to sleep first.
fn sleepers() -> Outcome {
    const THREADS: u64 = 16;
    let threads = (0..THREADS).map(|n| {
        here(move || {
            let end = Instant::now() + Duration::from_millis(40 - 2 * n);
            thread::sleep(end.duration_since(Instant::now()));
            (end, Instant::now())
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        let (end, woken) = thread.and_then(JoinHandle::join).map_err(said)?;
        check(woken >= end, || format!("{:?} early", end - woken))?;
    }
    Ok(format!("{THREADS} on one hart"))
}

/// A thread that spins for another of its own hart: it ends only if the hart is taken from
/// it. In a process that never happens, so it yields there.
fn preempted() -> Outcome {
    let (go, gone) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let spinner = {
        let (go, gone) = (go.clone(), gone.clone());
        here(move || {
            while !go.load(Ordering::Acquire) {
                gone.fetch_add(1, Ordering::Relaxed);
                spin_loop();
                if !thread::PREEMPTIVE {
                    thread::yield_now();
                }
            }
        })
    };
    let spinner = spinner.map_err(said)?;
    while gone.load(Ordering::Relaxed) == 0 {
        if thread::PREEMPTIVE {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
    let other = here(move || go.store(true, Ordering::Release)).map_err(said)?;
    other.join().map_err(said)?;
    spinner.join().map_err(said)?;
    let spins = gone.load(Ordering::Relaxed);
    Ok(match thread::PREEMPTIVE {
        true => format!("after {spins} spins"),
        false => "by yielding: a process's harts are not taken".to_string(),
    })
}

/// A thread with a `NoPreempt` keeps its hart for several time slices, although another
/// thread is ready there and the timer interrupts. When the guard is dropped, the other
/// thread runs before the drop returns, or as soon as interrupts are let in.
fn kept() -> Outcome {
    if !thread::PREEMPTIVE {
        return Ok("a process's harts are not taken".to_string());
    }
    let (turns, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let other = {
        let (turns, stop) = (turns.clone(), stop.clone());
        here(move || {
            while !stop.load(Ordering::Acquire) {
                turns.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        })
    };
    let other = other.map_err(said)?;
    while turns.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let kept = keep(&turns).and_then(|rings| keep_past_irqs_off(&turns).map(|()| rings));
    stop.store(true, Ordering::Release);
    other.join().map_err(said)?;
    kept.map(|rings| format!("during {rings} interrupts, and not after"))
}

/// How many timer interrupts a guard is held for, and the time between them. All in all it
/// is three time slices.
const RINGS: u64 = 15;
const BETWEEN: Duration = Duration::from_millis(2);

/// Returns how many timer interrupts came while this thread had the hart.
fn keep(turns: &AtomicUsize) -> Result<u64, String> {
    let ticks = timer_ticks();
    let outer = NoPreempt::new();
    let before = turns.load(Ordering::Relaxed);
    for _ in 0..RINGS {
        let inner = NoPreempt::new();
        let rings = ring();
        drop(inner);
        rings?;
    }
    let during = turns.load(Ordering::Relaxed);
    drop(outer);
    let after = turns.load(Ordering::Relaxed);
    check(during == before, || {
        format!("the other ran {} times under the guard", during - before)
    })?;
    check(after > during, || {
        "the other did not run when the guard was dropped".to_string()
    })?;
    Ok(timer_ticks() - ticks)
}

/// The last guard is dropped while interrupts are off.
fn keep_past_irqs_off(turns: &AtomicUsize) -> Result<(), String> {
    let guard = NoPreempt::new();
    let rings = (0..RINGS).try_for_each(|_| ring());
    let no_interrupts = IrqsOff::new();
    let before = turns.load(Ordering::Relaxed);
    drop(guard);
    let during = turns.load(Ordering::Relaxed);
    drop(no_interrupts);
    rings?;
    check(during == before, || {
        "the other ran with interrupts off".to_string()
    })?;
    let end = Instant::now() + LONG;
    while turns.load(Ordering::Relaxed) == during {
        check(Instant::now() < end, || {
            "the other did not run when interrupts were let in".to_string()
        })?;
    }
    Ok(())
}

/// Longer than any hart takes to answer an interrupt.
const LONG: Duration = Duration::from_secs(5);

/// Sets the timer and spins until it has rung on this hart.
fn ring() -> Result<(), String> {
    let ticks = timer_ticks();
    set_oneshot_timer(monotonic_time_nanos() + BETWEEN.as_nanos() as u64);
    let end = Instant::now() + LONG;
    while timer_ticks() == ticks {
        check(Instant::now() < end, || {
            "the timer did not ring".to_string()
        })?;
        spin_loop();
    }
    Ok(())
}

/// Threads of one hart count in floating-point numbers, each until the hart has been taken
/// from it in the middle.
fn floats() -> Outcome {
    const THREADS: usize = 3;
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let threads = (0..THREADS).map(|n| {
        let (stop, rounds) = (stop.clone(), rounds.clone());
        here(move || {
            let step = core::hint::black_box(0.5 + n as f64);
            let mut sums = [0.0_f64; 8];
            let mut steps = 0_u32;
            while !stop.load(Ordering::Relaxed) || steps < 1000 {
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum += step * (k as f64 + 1.0);
                }
                steps += 1;
                if !thread::PREEMPTIVE {
                    thread::yield_now();
                }
            }
            rounds.fetch_add(steps as usize, Ordering::Relaxed);
            let right =
                |(k, sum): (usize, &f64)| *sum == step * (k as f64 + 1.0) * f64::from(steps);
            sums.iter().enumerate().all(right)
        })
    });
    let threads = threads.collect::<Vec<_>>();
    thread::sleep(Duration::from_millis(60));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let right = thread.and_then(JoinHandle::join).map_err(said)?;
        check(right, || "a sum is wrong".to_string())?;
    }
    Ok(format!(
        "{THREADS} threads, {} rounds",
        rounds.load(Ordering::Relaxed)
    ))
}

/// Threads of one hart, each in a user address space of its own, with the same address.
fn spaces() -> Outcome {
    const THREADS: usize = 3;
    const ROUNDS: usize = 50;
    let threads = (0..THREADS).map(|n| here(move || in_a_space(n, ROUNDS)));
    for thread in threads.collect::<Vec<_>>() {
        thread.and_then(JoinHandle::join).map_err(said)??;
    }
    check(!axstd::memory::probe::can_read(ADDRESS), || {
        "a space has been left behind".to_string()
    })?;
    Ok(format!("{THREADS} threads, {ROUNDS} turns each"))
}

const ADDRESS: usize = USER_BASE + (1 << 20);

fn in_a_space(n: usize, rounds: usize) -> Result<(), String> {
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let aspace = new_user_aspace(ADDRESS.into(), 1 << 20);
    let aspace = SharedAspace::new(aspace.map_err(said)?);
    let mapped = aspace.lock().map_alloc(ADDRESS.into(), 4096, rights, false);
    mapped.map_err(said)?;
    let word = ADDRESS as *mut usize;
    let kept = aspace.run(|| {
        (0..rounds).all(|round| {
            // SAFETY: the page is mapped in the space that this thread is in.
            unsafe { word.write_volatile(n * rounds + round) };
            if round % 10 == 9 {
                thread::sleep(Duration::from_micros(200));
            } else {
                thread::yield_now();
            }
            // SAFETY: as above.
            unsafe { word.read_volatile() == n * rounds + round }
        })
    });
    check(kept.map_err(said)?, || "another's value".to_string())
}
