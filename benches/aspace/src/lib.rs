//! Loads for address spaces, the same for ours and other people's, in a guest and
//! on the host.
//!
//! An address space is a [`Space`]. [`rows`] puts every load on it; each begins and
//! ends with nothing mapped, and only what its [`Watch`] is given counts. Sizes and
//! places are those of `apps/mmbench`, whose rows have the same names.
#![no_std]

use core::hint::black_box;
use core::ops::Range;

/// Bytes of a page.
pub const PAGE: usize = 4096;

const GIB: usize = 1 << 30;

/// Pages that are mapped with their frames: 64 MiB.
const MANY: usize = 64 << 8;

/// Pages that are touched one by one: 16 MiB.
const TOUCHED: usize = 16 << 8;

/// Pairs of map and unmap; searches and questions.
const PAIRS: usize = 500;
const QUESTIONS: usize = 200;

/// Areas that lie in the way, each a page, and pages from one to the next.
const FEW: usize = 10;
const MOST: usize = 10_000;
const APART: usize = 4;

/// What an address space did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What came of a load: how many operations it did.
pub type Done = Result<usize, Refused>;

/// An address space under a load. Addresses and sizes are in bytes, and multiples
/// of [`PAGE`].
pub trait Space {
    /// Where loads may map: at least 4 GiB from a multiple of 1 GiB on.
    fn range(&self) -> Range<usize>;

    /// Maps readable and writable pages, with frames now or at first touch.
    ///
    /// # Errors
    ///
    /// [`Refused`] if it cannot.
    fn map(&mut self, start: usize, size: usize, populate: bool) -> Result<(), Refused>;

    /// Unmaps whatever is mapped there.
    ///
    /// # Errors
    ///
    /// [`Refused`] if it cannot.
    fn unmap(&mut self, start: usize, size: usize) -> Result<(), Refused>;

    /// Makes pages read-only, or writable again.
    ///
    /// # Errors
    ///
    /// [`Refused`] if it cannot.
    fn protect(&mut self, start: usize, size: usize, write: bool) -> Result<(), Refused>;

    /// Writes to a page that may have no frame yet: by a trap where there are
    /// traps, else by what a trap would call.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the page cannot be written.
    fn touch(&mut self, page: usize) -> Result<(), Refused>;

    /// The lowest `size` bytes with nothing mapped, from `hint` on.
    fn find_free(&self, hint: usize, size: usize, limit: Range<usize>) -> Option<usize>;

    /// Whether all of it may be written.
    fn can_write(&self, start: usize, size: usize) -> bool;
}

/// Counts what it is given, and nothing else.
pub trait Watch {
    /// Does `part`, counted.
    fn time<R>(&mut self, part: impl FnOnce() -> R) -> R;
}

/// Whom the loads are for.
pub trait Table {
    /// Its watch.
    type Watch: Watch;

    /// Does `load` if it wants the row, as often as it likes.
    fn row<S: Space>(
        &mut self,
        name: &str,
        space: &mut S,
        load: impl Fn(&mut S, &mut Self::Watch) -> Done,
    );
}

/// Every load, on `space`.
pub fn rows<T: Table, S: Space>(table: &mut T, space: &mut S) {
    gibibyte(table, space);
    pages(table, space);
    pairs::<FEW, _, _>(table, "map_unmap.10", space);
    pairs::<MOST, _, _>(table, "map_unmap.10000", space);
    questions(table, space);
}

/// A GiB that nobody touches.
fn gibibyte<T: Table, S: Space>(table: &mut T, space: &mut S) {
    table.row("map_lazy.1g", space, |space, watch| {
        let start = space.range().start;
        watch.time(|| space.map(start, GIB, false))?;
        space.unmap(start, GIB).map(|()| 1)
    });
    table.row("unmap_lazy.1g", space, |space, watch| {
        let start = space.range().start;
        space.map(start, GIB, false)?;
        watch.time(|| space.unmap(start, GIB)).map(|()| 1)
    });
}

/// Rows by the page.
fn pages<T: Table, S: Space>(table: &mut T, space: &mut S) {
    table.row("fault.lazy_write", space, |space, watch| {
        let (start, size) = (space.range().start, TOUCHED * PAGE);
        space.map(start, size, false)?;
        watch.time(|| touch(space, start, TOUCHED))?;
        space.unmap(start, size).map(|()| TOUCHED)
    });
    table.row("populate.page", space, |space, watch| {
        let (start, size) = (space.range().start, MANY * PAGE);
        watch.time(|| space.map(start, size, true))?;
        space.unmap(start, size).map(|()| MANY)
    });
    table.row("unmap.page", space, |space, watch| {
        let (start, size) = (space.range().start, MANY * PAGE);
        space.map(start, size, false)?;
        touch(space, start, MANY)?;
        watch.time(|| space.unmap(start, size)).map(|()| MANY)
    });
    table.row("protect.page", space, |space, watch| {
        let (start, size) = (space.range().start, MANY * PAGE);
        space.map(start, size, true)?;
        watch.time(|| space.protect(start, size, false))?;
        watch.time(|| space.protect(start, size, true))?;
        space.unmap(start, size).map(|()| 2 * MANY)
    });
}

fn touch<S: Space>(space: &mut S, start: usize, count: usize) -> Result<(), Refused> {
    (0..count).try_for_each(|page| space.touch(start + page * PAGE))
}

/// Mapping and unmapping a lazy page with `COUNT` other areas.
fn pairs<const COUNT: usize, T: Table, S: Space>(table: &mut T, name: &str, space: &mut S) {
    table.row(name, space, |space, watch| {
        in_the_way(space, COUNT)?;
        let start = space.range().start;
        watch.time(|| {
            (0..PAIRS).try_for_each(|number| {
                // All over the areas: 7919 is a prime.
                let page = place(start, number * 7919 % COUNT) + 2 * PAGE;
                space.map(page, PAGE, false)?;
                space.unmap(page, PAGE)
            })
        })?;
        space.unmap(start, COUNT * APART * PAGE).map(|()| PAIRS)
    });
}

/// What is asked of many areas: no gap between them is wide enough, and it is the
/// last that is meant.
fn questions<T: Table, S: Space>(table: &mut T, space: &mut S) {
    let wide = APART * PAGE;
    table.row("find_free.10000", space, |space, watch| {
        in_the_way(space, MOST)?;
        let limit = space.range();
        let find = |_| black_box(space.find_free(black_box(limit.start), wide, limit.clone()));
        watch.time(|| (0..QUESTIONS).map(find).for_each(drop));
        space.unmap(limit.start, MOST * wide).map(|()| QUESTIONS)
    });
    table.row("can_access.10000", space, |space, watch| {
        in_the_way(space, MOST)?;
        let start = space.range().start;
        let last = place(start, MOST - 1);
        let ask = |_| black_box(space.can_write(black_box(last), PAGE));
        watch.time(|| (0..QUESTIONS).map(ask).for_each(drop));
        space.unmap(start, MOST * wide).map(|()| QUESTIONS)
    });
}

/// Maps the areas that lie in the way.
fn in_the_way<S: Space>(space: &mut S, count: usize) -> Result<(), Refused> {
    let start = space.range().start;
    (0..count).try_for_each(|index| space.map(place(start, index), PAGE, false))
}

fn place(start: usize, index: usize) -> usize {
    start + index * APART * PAGE
}
