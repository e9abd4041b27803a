//! Work on all harts, handed out by threads of any.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use axstd::sync::{Arc, Barrier};
use axstd::thread::{Builder, JoinHandle};
use axstd::{harts, io};

use crate::report::{Outcome, Report, check};

/// How often each thread hands out work.
const ROUNDS: usize = 8;

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("work: from each hart in turn", in_turn);
    report.test("work: from all harts at once", at_once);
    report.test("work: not within work", within_work);
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

fn said(error: io::Error) -> String {
    format!("{error:?}")
}

/// Hands out work from the calling thread; fails unless every hart that is up runs it
/// once, on that hart.
fn hand_out() -> Result<(), String> {
    let caller = harts::current();
    let runs: Vec<_> = (0..harts::count()).map(|_| AtomicUsize::new(0)).collect();
    let astray = AtomicUsize::new(0);
    let ran = harts::run_on_all(|hart| {
        astray.fetch_add(usize::from(harts::current() != hart), Ordering::Relaxed);
        runs[hart].fetch_add(1, Ordering::Relaxed);
    });
    ran.map_err(said)?;
    for (hart, runs) in runs.into_iter().enumerate() {
        let (runs, wanted) = (runs.into_inner(), usize::from(harts::is_online(hart)));
        check(runs == wanted, || {
            format!("from hart {caller}: {runs} times on hart {hart}, not {wanted}")
        })?;
    }
    let astray = astray.into_inner();
    check(astray == 0, || {
        format!("from hart {caller}: {astray} harts were told another's number")
    })
}

fn in_turn() -> Outcome {
    for _ in 0..ROUNDS {
        for hart in online() {
            let thread = on_hart(hart, hand_out).map_err(said)?;
            thread.join().map_err(said)??;
        }
        // And from `main`, which is the first hart's.
        hand_out()?;
    }
    Ok(format!(
        "{ROUNDS} times from each of {} harts",
        harts::online()
    ))
}

fn at_once() -> Outcome {
    let here = Arc::new(Barrier::new(harts::online()));
    let threads: Result<Vec<_>, _> = online()
        .map(|hart| {
            let here = here.clone();
            on_hart(hart, move || {
                here.wait();
                (0..ROUNDS).try_for_each(|_| hand_out())
            })
        })
        .collect();
    for thread in threads.map_err(said)? {
        thread.join().map_err(said)??;
    }
    Ok(format!("{ROUNDS} times from {} threads", harts::online()))
}

/// A part of the work that hands out work gets an error; the work goes on, and so does
/// the next.
fn within_work() -> Outcome {
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
        let refused = refused.and_then(JoinHandle::join).map_err(said)?;
        check(refused == Ok(harts::online()), || {
            format!("from hart {hart}: {refused:?} parts were refused")
        })?;
        hand_out()?;
    }
    Ok("each part is refused".to_string())
}
