//! How threads begin and end.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use axstd::memory::UsageKind;
use axstd::sync::{Arc, Barrier};
use axstd::thread::{self, Builder};
use axstd::{harts, memory};

use crate::report::{Outcome, Report, check};

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("lives: values come back", values);
    report.test("lives: names and numbers", names);
    report.test("lives: each on its hart", pinned);
    report.test("lives: they may borrow", scoped);
    report.test("lives: on every hart at once", on_all);
    report.test("lives: 1000, and nothing is left", many);
}

fn values() -> Outcome {
    let threads: Vec<_> = (0..32_u64)
        .map(|n| thread::spawn(move || (n, [n * n; 16])))
        .collect();
    for (n, thread) in (0..).zip(threads) {
        let value = thread.join().map_err(|error| format!("{error:?}"))?;
        check(value == (n, [n * n; 16]), || format!("{n}: {value:?}"))?;
    }
    Ok("32 threads".to_string())
}

fn names() -> Outcome {
    let builder = Builder::new().name("a name".to_string());
    let handle = builder.spawn(|| {
        let me = thread::current();
        (me.id(), me.name().map(ToString::to_string))
    });
    let handle = handle.map_err(|error| format!("{error:?}"))?;
    let outside = handle.thread().id();
    let (inside, name) = handle.join().map_err(|error| format!("{error:?}"))?;
    check(inside == outside, || format!("{inside:?}, {outside:?}"))?;
    check(inside != thread::current().id(), || format!("{inside:?}"))?;
    check(name.as_deref() == Some("a name"), || format!("{name:?}"))?;
    let main = thread::current();
    check(main.name() == Some("main"), || format!("{main:?}"))?;
    Ok(format!("{outside:?}, \"a name\""))
}

fn pinned() -> Outcome {
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
        check(stayed == Ok(true), || format!("hart {hart}: {stayed:?}"))?;
    }
    let nowhere = Builder::new().hart(harts::count()).spawn(|| {});
    check(nowhere.is_err(), || "a hart that there is not".to_string())?;
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
        seen |= 1 << handle.join().map_err(|error| format!("{error:?}"))?;
    }
    check(seen.count_ones() as usize == harts::online(), || {
        format!("all on harts {seen:#b}")
    })?;
    Ok(format!("{} harts", harts::online()))
}

fn scoped() -> Outcome {
    let mut numbers = [0_usize; 64];
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (index, number) in numbers.iter_mut().enumerate() {
            let sum = &sum;
            scope.spawn(move || {
                *number = index;
                sum.fetch_add(index, Ordering::Relaxed);
            });
        }
    });
    let right = numbers.iter().copied().eq(0..64);
    let sum = sum.into_inner();
    check(right && sum == 63 * 32, || format!("{sum}, {numbers:?}"))?;
    Ok("64 threads".to_string())
}

/// Work on all harts is done while threads run there.
fn on_all() -> Outcome {
    static STOP: AtomicUsize = AtomicUsize::new(0);
    let busy: Vec<_> = (0..harts::online())
        .map(|_| {
            thread::spawn(|| {
                while STOP.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
            })
        })
        .collect();
    let seen = AtomicUsize::new(0);
    for _ in 0..4 {
        let ran = harts::run_on_all(|hart| {
            seen.fetch_add(1 + hart, Ordering::Relaxed);
        });
        ran.map_err(|error| format!("{error:?}"))?;
    }
    STOP.store(1, Ordering::Relaxed);
    for thread in busy {
        thread.join().map_err(|error| format!("{error:?}"))?;
    }
    let online = (0..harts::count()).filter(|hart| harts::is_online(*hart));
    let wanted: usize = online.map(|hart| 4 * (1 + hart)).sum();
    let seen = seen.into_inner();
    check(seen == wanted, || format!("{seen} of {wanted}"))?;
    Ok(format!("4 times on {} harts", harts::online()))
}

fn many() -> Outcome {
    const TRIALS: usize = 8;
    // The heap grows to what the others need, and the kernel keeps as many stacks as it
    // ever will.
    let together = Arc::new(Barrier::new(40));
    let threads = (0..40).map(|_| {
        let together = together.clone();
        thread::spawn(move || together.wait().is_leader())
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(|error| format!("{error:?}"))?;
    }
    // A hart's heap takes a slab more when most threads happen to be on it, and gives one
    // back when few are. A leak shows in every trial.
    let mut before = free();
    for _ in 0..TRIALS {
        rounds(25)?;
        let after = free();
        if after >= before {
            return Ok(format!("{before} frames free before, {after} after"));
        }
        before = after;
    }
    Err(format!(
        "fewer frames are free after each of {TRIALS} trials: {before} at last"
    ))
}

/// Frames that are free, or a page table's: how many of those there are depends on where
/// the stacks are that the kernel keeps.
fn free() -> usize {
    let usage = memory::usage();
    usage.free + usage.of(UsageKind::PageTable)
}

fn rounds(count: usize) -> Result<(), String> {
    for round in 0..count {
        let threads: Vec<_> = (0..40).map(|n| thread::spawn(move || round * n)).collect();
        for (n, thread) in threads.into_iter().enumerate() {
            let value = thread.join().map_err(|error| format!("{error:?}"))?;
            check(value == round * n, || format!("{value}"))?;
        }
    }
    Ok(())
}
