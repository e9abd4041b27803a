//! How threads wait for each other.

use alloc::format;
use alloc::string::{String, ToString};
use core::sync::atomic::{AtomicUsize, Ordering};

use axstd::harts;
use axstd::sync::{Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use axstd::thread;
use axstd::time::{Duration, Instant};

use crate::report::{Outcome, Report, check};

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("sync: a mutex counts", mutex);
    report.test("sync: no wake-up is lost", ping_pong);
    report.test("sync: no permit is lost", permits);
    report.test("sync: a full house, an empty one", stock);
    report.test("sync: readers and a writer", rwlock);
    report.test("sync: all pass together", barrier);
    report.test("sync: once", once);
    report.test("sync: waits have an end", timeouts);
}

fn threads() -> usize {
    2 * harts::online().clamp(2, 8)
}

fn mutex() -> Outcome {
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
        format!("{count:?} of {wanted}")
    })?;
    Ok(format!("to {wanted} by {} threads", threads()))
}

/// Two threads take turns; a lost wake-up would be the end.
fn ping_pong() -> Outcome {
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
    check(turns == 2 * TIMES, || format!("{turns}"))?;
    Ok(format!("{turns} turns"))
}

fn permits() -> Outcome {
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
    check(count == 2 * TIMES, || format!("{count}"))?;
    Ok(format!("{TIMES} there and back"))
}

/// A store with room for few, those who fill it and those who empty it.
fn stock() -> Outcome {
    const ROOM: usize = 3;
    const TIMES: usize = 500;
    let pairs = threads() / 2;
    let stock = Mutex::new(0_usize);
    let (filled, emptied) = (Condvar::new(), Condvar::new());
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..pairs {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    let mut stock = emptied.wait_while(stock.lock(), |stock| *stock == ROOM);
                    *stock += 1;
                    most.fetch_max(*stock, Ordering::Relaxed);
                    filled.notify_one();
                }
            });
            scope.spawn(|| {
                for _ in 0..TIMES {
                    let mut stock = filled.wait_while(stock.lock(), |stock| *stock == 0);
                    *stock -= 1;
                    emptied.notify_one();
                }
            });
        }
    });
    let (left, most) = (stock.into_inner(), most.into_inner());
    check(left == 0 && most <= ROOM, || {
        format!("{left} left, {most} at most")
    })?;
    Ok(format!("{} through {ROOM} places", pairs * TIMES))
}

fn rwlock() -> Outcome {
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
        format!("{value:?} of {wanted}, {torn} torn")
    })?;
    Ok(format!("{wanted} writes"))
}

/// Some are about to wait when the last one comes: who wakes all wakes them, too. They are
/// few, and it takes many times.
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
        format!("{wrong} wrong, {leaders} leaders")
    })?;
    Ok(format!("{} threads, {TIMES} times", threads()))
}

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
        format!("{calls} calls, {right} right")
    })?;
    check(VALUE.set(String::new()).is_err(), || {
        "set twice".to_string()
    })?;
    Ok(format!("{} threads", threads()))
}

fn timeouts() -> Outcome {
    const WAIT: Duration = Duration::from_millis(3);
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let start = Instant::now();
    let (guard, result) = condvar.wait_timeout(mutex.lock(), WAIT);
    check(result.timed_out() && start.elapsed() >= WAIT, || {
        format!("{result:?} after {:?}", start.elapsed())
    })?;
    drop(guard);
    let long = Duration::from_secs(3600);
    let told = thread::scope(|scope| {
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
    check(told == Ok(false), || format!("{told:?}"))?;
    Ok("one over, one cut short".to_string())
}
