//! A test that locking is fair: all harts change the same pages, and a waiting hart must not be
//! overtaken again and again.
//!
//! The kernel counts overtakes by the order in which harts draw tickets and get the lock
//! (`axmm::overtaken`). The application cannot count them by a clock or a counter of its own. A
//! hart may be stopped after it has read the clock and before it draws the ticket. Meanwhile other
//! harts can make any number of changes.

use alloc::format;
use alloc::string::String;

use axstd::memory::{AxError, AxResult, Grain, Overtaken, overtaken};
use axstd::{harts, println};
use spin::Mutex;

use crate::page::{PAGE, READ, RW};
use crate::space::{Kind, Space, TABLE};

/// The number of waits for the lock after which the test ends.
const WAITS: usize = 300;

/// How many times one hart may overtake a waiting one: with an operation that it began before the
/// wait, and with no later one.
const MOST: usize = 1;

/// The number of pages that are changed. Every change includes the middle page.
const PAGES: usize = 16;

/// The number of these pages that lie below a boundary between shards, so that some changes are
/// in two shards.
const BEFORE_BOUNDARY: usize = 4;

/// Has every hart change the same pages of `space`, until harts have waited [`WAITS`] times.
///
/// # Errors
///
/// Fails when a change is refused, or when a hart was overtaken too often.
pub fn contend(space: &Space) -> Result<(), String> {
    if harts::online() == 1 {
        return Ok(());
    }
    let before = overtaken().waits;
    let refused = Mutex::new(None);
    let is_over = || overtaken().waits - before >= WAITS || verdict().is_err();
    let ran = harts::run_on_all(|number| {
        for round in number.. {
            if is_over() || refused.lock().is_some() {
                break;
            }
            if let Err(error) = change(space, round) {
                refused.lock().get_or_insert(error);
            }
        }
    });
    ran.map_err(|error| format!("work on all harts: {error:?}"))?;
    space
        .unmap(base(space), PAGES * PAGE)
        .map_err(|error| format!("unmap of the contended pages: {error:?}"))?;
    let Overtaken { waits, most } = overtaken();
    println!(
        "storm: {} address space: {} waits, overtakes per wait: at most {most}",
        space.name(),
        waits - before
    );
    match refused.into_inner() {
        Some(error) => Err(format!("change of the contended pages: {error:?}")),
        None => verdict(),
    }
}

/// Checks that no hart has overtaken another too often since boot.
///
/// # Errors
///
/// Fails with the largest number of overtakes if it is above [`MOST`].
pub fn verdict() -> Result<(), String> {
    let Overtaken { waits, most } = overtaken();
    match most <= MOST {
        true => Ok(()),
        false => Err(format!(
            "a hart overtook another {most} times in one of {waits} waits, expected {MOST} at most"
        )),
    }
}

fn base(space: &Space) -> usize {
    space.base() + TABLE - BEFORE_BOUNDARY * PAGE
}

/// Makes the change of number `round`. It may be refused, since other harts map and unmap the same
/// pages.
fn change(space: &Space, round: usize) -> AxResult {
    let at = |page: usize| base(space) + page * PAGE;
    let first = round % (PAGES / 2);
    let size = (PAGES / 2 + 1) * PAGE;
    let kind = Kind {
        populate: true,
        grain: Grain::Page,
    };
    let done = match round % 5 {
        0 => space.unmap(at(first), size),
        1 => space.map(at(0), PAGES * PAGE, RW, kind),
        2 | 3 => space.protect(at(first), size, READ),
        _ => space.protect(at(first), size, RW),
    };
    match done {
        Err(AxError::AlreadyExists | AxError::NotFound | AxError::NoMemory) => Ok(()),
        done => done,
    }
}
