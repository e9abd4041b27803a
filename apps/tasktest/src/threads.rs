//! How threads start and end.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use axstd::memory::UsageKind;
use axstd::sync::{Arc, Barrier};
use axstd::thread::{self, Builder};
use axstd::{harts, memory};

use crate::report::{Outcome, Report, check, error_text};

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("threads: join returns value", join_returns_value);
    report.test("threads: names and IDs", names_and_ids);
    report.test("threads: pinned to a hart", pinned_to_a_hart);
    report.test("threads: scoped borrows", scoped_borrows);
    report.test("threads: 1000 without leak", no_leak);
}

fn join_returns_value() -> Outcome {
    let threads: Vec<_> = (0..32_u64)
        .map(|n| thread::spawn(move || (n, [n * n; 16])))
        .collect();
    for (n, thread) in (0..).zip(threads) {
        let value = thread.join().map_err(error_text)?;
        check(value == (n, [n * n; 16]), || {
            format!("thread {n} returned {value:?}")
        })?;
    }
    Ok("32 threads".to_string())
}

fn names_and_ids() -> Outcome {
    let builder = Builder::new().name("a name".to_string());
    let handle = builder.spawn(|| {
        let me = thread::current();
        (me.id(), me.name().map(ToString::to_string))
    });
    let handle = handle.map_err(error_text)?;
    let outside = handle.thread().id();
    let (inside, name) = handle.join().map_err(error_text)?;
    check(inside == outside, || {
        format!("the thread is {inside:?}, its handle says {outside:?}")
    })?;
    check(inside != thread::current().id(), || {
        format!("two threads are {inside:?}")
    })?;
    check(name.as_deref() == Some("a name"), || {
        format!("the thread's name is {name:?}")
    })?;
    let main = thread::current();
    check(main.name() == Some("main"), || {
        format!("the first thread is {main:?}")
    })?;
    Ok(format!("{outside:?}, \"a name\""))
}

/// A pinned thread stays on its hart. A number that is no hart's is an error. Threads that are
/// not pinned are spread over all harts.
fn pinned_to_a_hart() -> Outcome {
    const ROUNDS: usize = 20;
    let all = (0..harts::count()).filter(|hart| harts::is_online(*hart));
    for hart in all {
        let work = move || {
            (0..ROUNDS).all(|_| {
                thread::yield_now();
                harts::current() == hart
            })
        };
        let handle = Builder::new().hart(hart).spawn(work);
        let stayed = handle.and_then(thread::JoinHandle::join);
        check(stayed == Ok(true), || {
            format!("stayed on hart {hart}: {stayed:?}")
        })?;
    }
    let beyond = Builder::new().hart(harts::count()).spawn(|| {});
    check(beyond.is_err(), || {
        "a thread was pinned to a hart beyond the last".to_string()
    })?;
    spread_over_harts()?;
    Ok(format!("{} harts", harts::online()))
}

/// As many threads as there are harts, all alive at the same time, are on different harts.
fn spread_over_harts() -> Result<(), String> {
    let here = Arc::new(Barrier::new(harts::online() + 1));
    let spread: Vec<_> = (0..harts::online())
        .map(|_| {
            let here = here.clone();
            thread::spawn(move || {
                here.wait();
                harts::current()
            })
        })
        .collect();
    here.wait();
    let mut seen = 0_u64;
    for handle in spread {
        seen |= 1 << handle.join().map_err(error_text)?;
    }
    check(seen.count_ones() as usize == harts::online(), || {
        format!("the threads are on the harts {seen:#b} only")
    })
}

fn scoped_borrows() -> Outcome {
    let mut numbers = [0_usize; 64];
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (index, number) in numbers.iter_mut().enumerate() {
            let sum = &sum;
            scope.spawn(move || {
                *number = index;
                // Relaxed: `scope` joins all threads before the sum is read.
                sum.fetch_add(index, Ordering::Relaxed);
            });
        }
    });
    let right = numbers.iter().copied().eq(0..64);
    let sum = sum.into_inner();
    check(right && sum == 63 * 32, || {
        format!("sum {sum}, numbers {numbers:?}")
    })?;
    Ok("64 threads".to_string())
}

/// Threads that have ended leave no frame in use.
fn no_leak() -> Outcome {
    const TRIALS: usize = 8;
    // Before the first count the heap grows to its largest size, and the kernel fills its cache
    // of stacks.
    let together = Arc::new(Barrier::new(40));
    let threads = (0..40).map(|_| {
        let together = together.clone();
        thread::spawn(move || together.wait().is_leader())
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(error_text)?;
    }
    // A hart's heap allocates another slab when most threads happen to run there, and frees it
    // later. So fewer frames may be free after one trial, but a leak shows in all of them.
    let mut before = free_frames();
    for _ in 0..TRIALS {
        spawn_and_join(25)?;
        let after = free_frames();
        if after >= before {
            return Ok(format!("{before} frames free before, {after} after"));
        }
        before = after;
    }
    Err(format!(
        "fewer frames are free after each of {TRIALS} trials: {before} after the last"
    ))
}

/// Returns the number of frames that are free or hold page tables. The number of page tables
/// depends on the addresses of the cached stacks, and so is no sign of a leak.
fn free_frames() -> usize {
    let usage = memory::usage();
    usage.free + usage.of(UsageKind::PageTable)
}

/// Spawns and joins 40 threads, `rounds` times.
fn spawn_and_join(rounds: usize) -> Result<(), String> {
    for round in 0..rounds {
        let threads: Vec<_> = (0..40).map(|n| thread::spawn(move || round * n)).collect();
        for (n, thread) in threads.into_iter().enumerate() {
            let value = thread.join().map_err(error_text)?;
            check(value == round * n, || {
                format!("thread {n} returned {value}, not {}", round * n)
            })?;
        }
    }
    Ok(())
}
