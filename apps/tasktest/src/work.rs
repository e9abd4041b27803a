//! Work on all harts (`run_on_all`), handed out by threads of any hart.
//!
//! Counters are relaxed: `run_on_all` returns after all harts have finished.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::sync::{Arc, Barrier};
use axstd::thread::{self, Builder, JoinHandle};
use axstd::{harts, io};

use crate::report::{Outcome, Report, check, error_text};

/// How many times each thread hands out work.
const ROUNDS: usize = 8;

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("work: beside busy threads", beside_busy_threads);
    report.test("work: from each hart in turn", from_each_hart_in_turn);
    report.test("work: from all harts at once", from_all_harts_at_once);
    report.test("work: nested work refused", nested_work_is_refused);
}

/// Work runs on all harts while a thread is busy on each of them.
fn beside_busy_threads() -> Outcome {
    const TIMES: usize = 4;
    // Relaxed: the flag guards no other data.
    static STOP: AtomicBool = AtomicBool::new(false);
    let busy: Vec<_> = (0..harts::online())
        .map(|_| {
            thread::spawn(|| {
                while !STOP.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            })
        })
        .collect();
    let sum = AtomicUsize::new(0);
    for _ in 0..TIMES {
        let ran = harts::run_on_all(|hart| {
            sum.fetch_add(1 + hart, Ordering::Relaxed);
        });
        ran.map_err(error_text)?;
    }
    STOP.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().map_err(error_text)?;
    }
    let wanted: usize = online().map(|hart| TIMES * (1 + hart)).sum();
    let sum = sum.into_inner();
    check(sum == wanted, || {
        format!("the sum over all harts is {sum}, not {wanted}")
    })?;
    Ok(format!("{TIMES} times on {} harts", harts::online()))
}

fn online() -> impl Iterator<Item = usize> {
    (0..harts::count()).filter(|hart| harts::is_online(*hart))
}

fn on_hart<F, T>(hart: usize, work: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().hart(hart).spawn(work)
}

/// Hands out work from the calling thread, and checks that every online hart runs it once, with
/// its own number.
fn hand_out() -> Result<(), String> {
    let caller = harts::current();
    let runs: Vec<_> = (0..harts::count()).map(|_| AtomicUsize::new(0)).collect();
    let wrong = AtomicUsize::new(0);
    let ran = harts::run_on_all(|hart| {
        wrong.fetch_add(usize::from(harts::current() != hart), Ordering::Relaxed);
        runs[hart].fetch_add(1, Ordering::Relaxed);
    });
    ran.map_err(error_text)?;
    for (hart, runs) in runs.into_iter().enumerate() {
        let (runs, wanted) = (runs.into_inner(), usize::from(harts::is_online(hart)));
        check(runs == wanted, || {
            format!("from hart {caller}: {runs} times on hart {hart}, not {wanted}")
        })?;
    }
    let wrong = wrong.into_inner();
    check(wrong == 0, || {
        format!("from hart {caller}: {wrong} harts got a wrong number")
    })
}

fn from_each_hart_in_turn() -> Outcome {
    for _ in 0..ROUNDS {
        for hart in online() {
            let thread = on_hart(hart, hand_out).map_err(error_text)?;
            thread.join().map_err(error_text)??;
        }
        // `main` runs on the first hart.
        hand_out()?;
    }
    Ok(format!(
        "{ROUNDS} times from each of {} harts",
        harts::online()
    ))
}

fn from_all_harts_at_once() -> Outcome {
    let all_started = Arc::new(Barrier::new(harts::online()));
    let threads: Result<Vec<_>, _> = online()
        .map(|hart| {
            let all_started = all_started.clone();
            on_hart(hart, move || {
                all_started.wait();
                (0..ROUNDS).try_for_each(|_| hand_out())
            })
        })
        .collect();
    for thread in threads.map_err(error_text)? {
        thread.join().map_err(error_text)??;
    }
    Ok(format!("{ROUNDS} times from {} threads", harts::online()))
}

/// Work that calls `run_on_all` itself gets an error. The outer work still ends, and later calls
/// succeed.
fn nested_work_is_refused() -> Outcome {
    for hart in online() {
        let refused = on_hart(hart, || {
            let refused = AtomicUsize::new(0);
            let ran = harts::run_on_all(|_| {
                let inner = harts::run_on_all(|_| {});
                let is_right = inner == Err(io::Error::BadState);
                refused.fetch_add(usize::from(is_right), Ordering::Relaxed);
            });
            ran.map(|()| refused.into_inner())
        });
        let refused = refused.and_then(JoinHandle::join).map_err(error_text)?;
        check(refused == Ok(harts::online()), || {
            format!("from hart {hart}: refused on {refused:?} harts")
        })?;
        hand_out()?;
    }
    Ok(format!("refused on {} harts", harts::online()))
}
