//! Locks, and other ways to wait for threads.
//!
//! Counters are relaxed: `thread::scope` joins all threads before the test reads them. Where a
//! thread reads a counter itself, the primitive under test must order it.

use alloc::format;
use alloc::string::{String, ToString};
use core::sync::atomic::{AtomicUsize, Ordering};

use axstd::harts;
use axstd::sync::{Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use axstd::thread;
use axstd::time::{Duration, Instant};

use crate::report::{Outcome, Report, check};

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("sync: mutual exclusion", mutual_exclusion);
    report.test("sync: no lost wake-up", no_lost_wake_up);
    report.test("sync: park and unpark", park_and_unpark);
    report.test("sync: bounded buffer", bounded_buffer);
    report.test("sync: readers and writers", readers_and_writers);
    report.test("sync: barrier", barrier);
    report.test("sync: Once and OnceLock", once);
    report.test("sync: wait timeouts", wait_timeouts);
}

/// Returns the number of threads that a test runs.
fn threads() -> usize {
    2 * harts::online().clamp(2, 8)
}

/// Threads increment two counters under one mutex.
fn mutual_exclusion() -> Outcome {
    const TIMES: usize = 2000;
    let count = Mutex::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                for time in 0..TIMES {
                    let mut guard = count.lock();
                    let (one, _) = *guard;
                    guard.0 = one + 1;
                    if time % 64 == 0 {
                        thread::yield_now();
                    }
                    guard.1 += 1;
                }
            });
        }
    });
    let (wanted, count) = (threads() * TIMES, count.into_inner());
    check(count == (wanted, wanted), || {
        format!("counters {count:?}, not {wanted}")
    })?;
    Ok(format!("{wanted} increments by {} threads", threads()))
}

/// Two threads take turns by a condition variable. After a lost wake-up both wait for ever.
fn no_lost_wake_up() -> Outcome {
    const TIMES: usize = 3000;
    let (turn, changed) = (Mutex::new(0), Condvar::new());
    let play = |mine: usize| {
        for _ in 0..TIMES {
            let mut turn = changed.wait_while(turn.lock(), |turn| *turn % 2 != mine);
            *turn += 1;
            changed.notify_one();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| play(1));
        play(0);
    });
    let turns = turn.into_inner();
    check(turns == 2 * TIMES, || {
        format!("{turns} turns, not {}", 2 * TIMES)
    })?;
    Ok(format!("{turns} turns"))
}

/// Two threads take turns by `park` and `unpark`. After a lost permit both wait for ever.
fn park_and_unpark() -> Outcome {
    const TIMES: usize = 3000;
    let count = AtomicUsize::new(0);
    let main = thread::current();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            for time in 0..TIMES {
                while count.load(Ordering::Acquire) != 2 * time + 1 {
                    thread::park();
                }
                count.fetch_add(1, Ordering::Release);
                main.unpark();
            }
        });
        for time in 0..TIMES {
            count.fetch_add(1, Ordering::Release);
            other.thread().unpark();
            while count.load(Ordering::Acquire) != 2 * time + 2 {
                thread::park();
            }
        }
    });
    let count = count.into_inner();
    check(count == 2 * TIMES, || {
        format!("{count} turns, not {}", 2 * TIMES)
    })?;
    Ok(format!("{TIMES} round trips"))
}

/// Producers and consumers share a buffer with few slots, of which only the fill level exists.
fn bounded_buffer() -> Outcome {
    const SLOTS: usize = 3;
    const TIMES: usize = 500;
    let pairs = threads() / 2;
    let level = Mutex::new(0_usize);
    let (filled, emptied) = (Condvar::new(), Condvar::new());
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..pairs {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    let mut level = emptied.wait_while(level.lock(), |level| *level == SLOTS);
                    *level += 1;
                    most.fetch_max(*level, Ordering::Relaxed);
                    filled.notify_one();
                }
            });
            scope.spawn(|| {
                for _ in 0..TIMES {
                    let mut level = filled.wait_while(level.lock(), |level| *level == 0);
                    *level -= 1;
                    emptied.notify_one();
                }
            });
        }
    });
    let (left, most) = (level.into_inner(), most.into_inner());
    check(left == 0 && most <= SLOTS, || {
        format!("{left} items left, {most} at most in {SLOTS} slots")
    })?;
    Ok(format!("{} items through {SLOTS} slots", pairs * TIMES))
}

/// Writers increment two words under an `RwLock`, and readers check that they are equal.
fn readers_and_writers() -> Outcome {
    const TIMES: usize = 500;
    let value = RwLock::new([0_usize; 2]);
    let torn = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..threads() {
            let (value, torn) = (&value, &torn);
            scope.spawn(move || {
                for time in 0..TIMES {
                    if n % 4 == 0 {
                        let mut value = value.write();
                        value[0] += 1;
                        if time % 32 == 0 {
                            thread::yield_now();
                        }
                        value[1] += 1;
                    } else {
                        let value = value.read();
                        torn.fetch_add(usize::from(value[0] != value[1]), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let wanted = threads().div_ceil(4) * TIMES;
    let (value, torn) = (value.into_inner(), torn.into_inner());
    check(torn == 0 && value == [wanted; 2], || {
        format!("words {value:?}, not {wanted}, {torn} torn reads")
    })?;
    Ok(format!("{wanted} writes"))
}

/// The last thread must wake all others, also those that are about to wait. Such threads are rare,
/// so that the test takes many rounds.
fn barrier() -> Outcome {
    const TIMES: usize = 4000;
    let (count, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(threads());
    let leaders = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                for time in 1..=TIMES {
                    count.fetch_add(1, Ordering::Relaxed);
                    leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::Relaxed);
                    let all = count.load(Ordering::Relaxed) == time * threads();
                    wrong.fetch_add(usize::from(!all), Ordering::Relaxed);
                    barrier.wait();
                }
            });
        }
    });
    let (wrong, leaders) = (wrong.into_inner(), leaders.into_inner());
    check(wrong == 0 && leaders == TIMES, || {
        format!("{wrong} passed too early, {leaders} leaders in {TIMES} rounds")
    })?;
    Ok(format!("{} threads, {TIMES} rounds", threads()))
}

/// All threads initialize the same `Once` and `OnceLock`, and each is initialized once.
fn once() -> Outcome {
    static ONCE: Once = Once::new();
    static VALUE: OnceLock<String> = OnceLock::new();
    let (calls, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                let call = || {
                    thread::yield_now();
                    calls.fetch_add(1, Ordering::Relaxed);
                };
                ONCE.call_once(call);
                let value = VALUE.get_or_init(|| "a value".to_string());
                let seen = value == "a value" && calls.load(Ordering::Relaxed) == 1;
                right.fetch_add(usize::from(seen), Ordering::Relaxed);
            });
        }
    });
    let (calls, right) = (calls.into_inner(), right.into_inner());
    check(calls == 1 && right == threads(), || {
        format!("{calls} calls, {right} of {} threads see one", threads())
    })?;
    check(VALUE.set(String::new()).is_err(), || {
        "a OnceLock was set twice".to_string()
    })?;
    Ok(format!("{} threads", threads()))
}

/// A wait with a timeout ends after that time, or earlier by a notification.
fn wait_timeouts() -> Outcome {
    const WAIT: Duration = Duration::from_millis(3);
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let start = Instant::now();
    let (guard, result) = condvar.wait_timeout(mutex.lock(), WAIT);
    check(result.timed_out() && start.elapsed() >= WAIT, || {
        format!("{result:?} after {:?}", start.elapsed())
    })?;
    drop(guard);
    let long = Duration::from_secs(3600);
    let timed_out = thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = mutex.lock();
            condvar.wait_timeout(guard, long).1.timed_out()
        });
        while !waiter.is_finished() {
            condvar.notify_one();
            thread::yield_now();
        }
        waiter.join()
    });
    check(timed_out == Ok(false), || {
        format!("a notified wait timed out: {timed_out:?}")
    })?;
    Ok("1 timed out, 1 notified".to_string())
}
