//! Every hart changes the same pages, until they have waited for each other often enough;
//! and whether a hart that waited was overtaken again and again.
//!
//! The kernel counts, by the order in which harts draw tickets and have their turns
//! (`axmm::overtaken`). No clock and no counter of this application could tell: between
//! either and the ticket a hart may be stopped for as long as others take for any number of
//! changes.

use alloc::format;
use alloc::string::String;

use axstd::memory::{AxError, AxResult, Grain, Overtaken, overtaken};
use axstd::{harts, println};
use spin::Mutex;

use crate::page::{PAGE, READ, RW};
use crate::space::{Kind, Space};
use crate::{TABLE, run_on_all};

/// Waits after which harts have met often enough.
const WAITS: usize = 300;

/// How often one hart may overtake another that waits: with the operation that it had asked
/// for before, and with no later one.
const MOST: usize = 1;

/// Pages that are changed. All changes are of the middle one, too.
const PAGES: usize = 16;

/// So many of them lie in front of an edge between shards, so that some changes are in both.
const BEFORE_EDGE: usize = 4;

/// Has every hart change the same pages of `space`.
pub fn meet(space: &Space) -> Result<(), String> {
    if harts::online() == 1 {
        return Ok(());
    }
    let before = overtaken().waits;
    let refused = Mutex::new(None);
    let is_over = || overtaken().waits - before >= WAITS || verdict().is_err();
    run_on_all(|number| {
        for round in number.. {
            if is_over() || refused.lock().is_some() {
                break;
            }
            if let Err(error) = change(space, round) {
                refused.lock().get_or_insert(error);
            }
        }
    })?;
    space
        .unmap(base(space), PAGES * PAGE)
        .map_err(|error| format!("the crowd's pages are not unmapped: {error:?}"))?;
    let Overtaken { waits, most } = overtaken();
    println!(
        "storm: {} waits in a crowd of the {}, most overtakes in one: {most}",
        waits - before,
        space.name()
    );
    match refused.into_inner() {
        Some(error) => Err(format!("a change in a crowd is refused: {error:?}")),
        None => verdict(),
    }
}

/// Whether no hart has overtaken another too often since boot.
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
    space.base() + TABLE - BEFORE_EDGE * PAGE
}

/// One of several changes. Pages may be mapped already, or not be mapped.
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
