//! How the threads of one hart take turns: order, sleep, preemption, and the state that a switch
//! keeps.
//!
//! Counters and flags may be relaxed, since a test's threads all run on the same hart.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use core::{mem, ptr};

use axstd::memory::{MappingFlags, SharedAspace, USER_BASE, new_user_aspace};
use axstd::os::arceos::modules::axhal::arch::{IrqsOff, TIMER_IRQ};
use axstd::os::arceos::modules::axhal::irq::timer_ticks;
use axstd::os::arceos::modules::axhal::threads::NoPreempt;
use axstd::os::arceos::modules::axhal::time::{monotonic_time_nanos, set_oneshot_timer};
use axstd::sync::{Arc, Condvar, Mutex};
use axstd::thread::{self, Builder, JoinHandle};
use axstd::time::{Duration, Instant};
use axstd::{harts, io};

use crate::report::{Outcome, Report, check, error_text};

/// Runs the tests of this file, apart from [`endless_sleep`].
pub fn run(report: &mut Report) {
    report.test("sched: round-robin order", round_robin_order);
    report.test("sched: sleep duration", sleep_duration);
    report.test("sched: many sleepers", many_sleepers);
    report.test("sched: spinner is preempted", spinner_is_preempted);
    report.test("sched: NoPreempt guard", no_preempt_guard);
    report.test("sched: FP registers are kept", fp_registers_are_kept);
    report.test("sched: FP in a timer handler", || {
        with_float_handler(fp_registers_are_kept)
    });
    report.test("sched: user address spaces", user_address_spaces);
}

/// Spawns a thread on the current hart.
fn spawn_here<F, T>(work: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().hart(harts::current()).spawn(work)
}

/// Threads that yield run in round-robin order: of any five turns, each of the five threads has
/// one. A preemption disturbs the order, so that three in four of these rows suffice.
fn round_robin_order() -> Outcome {
    const THREADS: usize = 5;
    const ROUNDS: usize = 40;
    let turns = Arc::new(Mutex::new(Vec::new()));
    let threads = (0..THREADS).map(|n| {
        let turns = turns.clone();
        spawn_here(move || {
            for _ in 0..ROUNDS {
                turns.lock().push(n);
                thread::yield_now();
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.and_then(JoinHandle::join).map_err(error_text)?;
    }
    let turns = turns.lock();
    let each_once = |row: &&[usize]| (0..THREADS).all(|n| row.contains(&n));
    let rows = turns.windows(THREADS);
    let (all, in_order) = (rows.len(), rows.filter(each_once).count());
    check(turns.len() == THREADS * ROUNDS, || {
        format!("{} turns, not {}", turns.len(), THREADS * ROUNDS)
    })?;
    check(in_order * 4 > all * 3, || {
        format!("{in_order} of {all} rows in order: {turns:?}")
    })?;
    Ok(format!("{in_order} of {all} rows of {THREADS} in order"))
}

/// A sleep lasts at least as long as requested.
fn sleep_duration() -> Outcome {
    for micros in [0, 1, 50, 1_000, 20_000] {
        let wanted = Duration::from_micros(micros);
        let start = Instant::now();
        thread::sleep(wanted);
        let took = start.elapsed();
        check(took >= wanted, || format!("slept {took:?}, not {wanted:?}"))?;
    }
    // An earlier test may have left a permit, which this call consumes.
    thread::park_timeout(Duration::ZERO);
    let start = Instant::now();
    thread::park_timeout(Duration::from_millis(5));
    let took = start.elapsed();
    check(took >= Duration::from_millis(5), || {
        format!("parked for {took:?}, not 5 ms")
    })?;
    Ok("5 sleeps, 1 park".to_string())
}

/// While threads wait for `Duration::MAX`, other sleepers of their hart still wake in time. The
/// endless waits can be ended by `unpark` and `notify_one`.
pub fn endless_sleep() -> Outcome {
    let here = || Builder::new().hart(thread::current().hart());
    let sleeper = here().spawn(|| thread::sleep(Duration::MAX));
    let sleeper = sleeper.map_err(error_text)?;
    let parked = here().spawn(|| thread::park_timeout(Duration::MAX));
    let parked = parked.map_err(error_text)?;
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let timed_out = thread::scope(|scope| {
        let waiting = here().spawn_scoped(scope, || {
            let guard = mutex.lock();
            condvar.wait_timeout(guard, Duration::MAX).1.timed_out()
        });
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(2));
            // This takes longer than a time slice. No short sleep is left, so that the timer is
            // set for the endless sleepers alone.
            let end = Instant::now() + Duration::from_millis(15);
            while Instant::now() < end {
                spin_loop();
            }
        }
        let waiting = waiting.map_err(error_text)?;
        while !waiting.is_finished() {
            condvar.notify_one();
            thread::yield_now();
        }
        waiting.join().map_err(error_text)
    })?;
    let ended = sleeper.is_finished() || parked.is_finished();
    parked.thread().unpark();
    parked.join().map_err(error_text)?;
    check(!timed_out && !ended, || {
        format!("timed out: {timed_out}, ended: {ended}")
    })?;
    Ok("beside 3 sleeps of 2 ms".to_string())
}

/// The threads that fall asleep first sleep longest. No thread may wake before its time.
fn many_sleepers() -> Outcome {
    const THREADS: u64 = 16;
    let threads = (0..THREADS).map(|n| {
        spawn_here(move || {
            let end = Instant::now() + Duration::from_millis(40 - 2 * n);
            thread::sleep(end.duration_since(Instant::now()));
            (end, Instant::now())
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        let (end, woken) = thread.and_then(JoinHandle::join).map_err(error_text)?;
        check(woken >= end, || format!("woke {:?} early", end - woken))?;
    }
    Ok(format!("{THREADS} threads on one hart"))
}

/// A thread spins until another thread of its hart has run. It ends only if the kernel preempts
/// it. On `host` the kernel cannot preempt, so that the thread yields there.
fn spinner_is_preempted() -> Outcome {
    let (go, spins) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let spinner = {
        let (go, spins) = (go.clone(), spins.clone());
        spawn_here(move || {
            while !go.load(Ordering::Acquire) {
                spins.fetch_add(1, Ordering::Relaxed);
                spin_loop();
                if !thread::PREEMPTIVE {
                    thread::yield_now();
                }
            }
        })
    };
    let spinner = spinner.map_err(error_text)?;
    while spins.load(Ordering::Relaxed) == 0 {
        if thread::PREEMPTIVE {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
    let other = spawn_here(move || go.store(true, Ordering::Release)).map_err(error_text)?;
    other.join().map_err(error_text)?;
    spinner.join().map_err(error_text)?;
    let spins = spins.load(Ordering::Relaxed);
    Ok(match thread::PREEMPTIVE {
        true => format!("after {spins} spins"),
        false => "on host the spinner yields".to_string(),
    })
}

/// A thread with a `NoPreempt` guard keeps its hart for several time slices, although another
/// thread is ready there and the timer interrupts. When the guard is dropped, the other
/// thread runs before the drop returns, or as soon as interrupts are on again.
fn no_preempt_guard() -> Outcome {
    if !thread::PREEMPTIVE {
        return Ok("not on host, which cannot preempt".to_string());
    }
    let (turns, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let other = {
        let (turns, stop) = (turns.clone(), stop.clone());
        spawn_here(move || {
            while !stop.load(Ordering::Acquire) {
                turns.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        })
    };
    let other = other.map_err(error_text)?;
    while turns.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let held = hold_nested_guards(&turns)
        .and_then(|interrupts| drop_guard_with_irqs_off(&turns).map(|()| interrupts));
    stop.store(true, Ordering::Release);
    other.join().map_err(error_text)?;
    held.map(|interrupts| format!("held for {interrupts} timer interrupts"))
}

/// The number of timer interrupts during which a guard is held, and the time between them:
/// three time slices together.
const INTERRUPTS: u64 = 15;
const BETWEEN: Duration = Duration::from_millis(2);

/// Holds a guard, and drops inner ones, through timer interrupts. The other thread, which counts
/// its turns in `turns`, must run when the outer guard is dropped, and not before. Returns the
/// number of timer interrupts.
fn hold_nested_guards(turns: &AtomicUsize) -> Result<u64, String> {
    let ticks = timer_ticks();
    let outer = NoPreempt::new();
    let before = turns.load(Ordering::Relaxed);
    for _ in 0..INTERRUPTS {
        let inner = NoPreempt::new();
        let interrupted = await_timer_interrupt();
        drop(inner);
        interrupted?;
    }
    let during = turns.load(Ordering::Relaxed);
    drop(outer);
    let after = turns.load(Ordering::Relaxed);
    check(during == before, || {
        format!(
            "the other thread ran {} times under the guard",
            during - before
        )
    })?;
    check(after > during, || {
        "the other thread did not run when the guard was dropped".to_string()
    })?;
    Ok(timer_ticks() - ticks)
}

/// Drops the guard while interrupts are off. The other thread must run when they are on again,
/// and not before.
fn drop_guard_with_irqs_off(turns: &AtomicUsize) -> Result<(), String> {
    let guard = NoPreempt::new();
    let interrupted = (0..INTERRUPTS).try_for_each(|_| await_timer_interrupt());
    let no_interrupts = IrqsOff::new();
    let before = turns.load(Ordering::Relaxed);
    drop(guard);
    let during = turns.load(Ordering::Relaxed);
    drop(no_interrupts);
    interrupted?;
    check(during == before, || {
        "the other thread ran with interrupts off".to_string()
    })?;
    let end = Instant::now() + LONG;
    while turns.load(Ordering::Relaxed) == during {
        check(Instant::now() < end, || {
            "the other thread did not run when interrupts were on again".to_string()
        })?;
    }
    Ok(())
}

/// A time in which any hart handles a pending interrupt.
const LONG: Duration = Duration::from_secs(5);

/// Sets the timer, and spins until its interrupt has come to this hart.
fn await_timer_interrupt() -> Result<(), String> {
    let ticks = timer_ticks();
    set_oneshot_timer(monotonic_time_nanos() + BETWEEN.as_nanos() as u64);
    let end = Instant::now() + LONG;
    while timer_ticks() == ticks {
        check(Instant::now() < end, || {
            "no timer interrupt came".to_string()
        })?;
        spin_loop();
    }
    Ok(())
}

/// Threads of one hart sum up floating-point numbers, for so long that each is preempted in the
/// middle.
fn fp_registers_are_kept() -> Outcome {
    const THREADS: usize = 3;
    let stop = Arc::new(AtomicBool::new(false));
    let all_steps = Arc::new(AtomicUsize::new(0));
    let threads = (0..THREADS).map(|n| {
        let (stop, all_steps) = (stop.clone(), all_steps.clone());
        spawn_here(move || {
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
            all_steps.fetch_add(steps as usize, Ordering::Relaxed);
            let right =
                |(k, sum): (usize, &f64)| *sum == step * (k as f64 + 1.0) * f64::from(steps);
            sums.iter().enumerate().all(right)
        })
    });
    let threads = threads.collect::<Vec<_>>();
    thread::sleep(Duration::from_millis(60));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let right = thread.and_then(JoinHandle::join).map_err(error_text)?;
        check(right, || "a sum is wrong".to_string())?;
    }
    Ok(format!(
        "{THREADS} threads, {} steps",
        all_steps.load(Ordering::Relaxed)
    ))
}

/// The kernel's handler of the timer's interrupt, while [`compute_and_handle`] is in its place.
static TIMER_HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Runs `test` with a handler of the timer's interrupt that computes with floating-point numbers.
fn with_float_handler(test: fn() -> Outcome) -> Outcome {
    let no_interrupts = IrqsOff::new();
    let Some(handler) = axplat::irq::unregister(TIMER_IRQ) else {
        return Err("the timer's interrupt has no handler".to_string());
    };
    TIMER_HANDLER.store(handler as *mut (), Ordering::Relaxed);
    axplat::irq::register(TIMER_IRQ, compute_and_handle);
    drop(no_interrupts);
    let outcome = test();
    let _no_interrupts = IrqsOff::new();
    axplat::irq::unregister(TIMER_IRQ);
    axplat::irq::register(TIMER_IRQ, handler);
    outcome
}

fn compute_and_handle() {
    compute();
    let handler = TIMER_HANDLER.load(Ordering::Relaxed);
    // SAFETY: `with_float_handler` has stored a handler before it registered this function.
    unsafe { mem::transmute::<*mut (), fn()>(handler)() };
}

/// Computes a sum of products, for which the compiler uses many registers at once.
fn compute() {
    let numbers = core::hint::black_box([1.5_f64; 16]);
    let mut sums = numbers;
    for factor in core::hint::black_box(numbers) {
        for sum in &mut sums {
            *sum += factor * *sum;
        }
    }
    core::hint::black_box(sums);
}

/// Threads of one hart use the same address, each in a user address space of its own.
fn user_address_spaces() -> Outcome {
    const THREADS: usize = 3;
    const ROUNDS: usize = 50;
    let threads = (0..THREADS).map(|n| spawn_here(move || write_in_own_space(n, ROUNDS)));
    for thread in threads.collect::<Vec<_>>() {
        thread.and_then(JoinHandle::join).map_err(error_text)??;
    }
    check(!axstd::memory::probe::can_read(ADDRESS), || {
        "`main` is in a user address space".to_string()
    })?;
    Ok(format!("{THREADS} threads, {ROUNDS} turns each"))
}

const ADDRESS: usize = USER_BASE + (1 << 20);

/// Writes values to [`ADDRESS`] in a new user address space, as thread number `n`. Other threads
/// run between each write and the read that checks it.
fn write_in_own_space(n: usize, rounds: usize) -> Result<(), String> {
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let aspace = new_user_aspace(ADDRESS.into(), 1 << 20);
    let aspace = SharedAspace::new(aspace.map_err(error_text)?);
    let mapped = aspace.lock().map_alloc(ADDRESS.into(), 4096, rights, false);
    mapped.map_err(error_text)?;
    let word = ADDRESS as *mut usize;
    let kept = aspace.run(|| {
        (0..rounds).all(|round| {
            // SAFETY: the page is mapped writable in the address space that this thread is in,
            // which no other thread enters.
            unsafe { word.write_volatile(n * rounds + round) };
            if round % 10 == 9 {
                thread::sleep(Duration::from_micros(200));
            } else {
                thread::yield_now();
            }
            // SAFETY: the page is mapped in the address space that this thread is in, which no
            // other thread enters.
            unsafe { word.read_volatile() == n * rounds + round }
        })
    });
    check(kept.map_err(error_text)?, || {
        "a thread reads another thread's value".to_string()
    })
}
