//! Loads for address spaces. They are the same for ours and for other projects', in a guest
//! and on the host.
//!
//! An address space implements [`Space`]. [`rows`] runs every load on it. Each load begins and
//! ends with nothing mapped, and its [`Watch`] counts only a part of it. Sizes and addresses are
//! those of `apps/mmbench`, whose rows have the same names.
#![no_std]

use core::hint::black_box;
use core::ops::Range;

/// The size of a page in bytes.
pub const PAGE: usize = 4096;

const GIB: usize = 1 << 30;

/// The number of pages in rows that map with frames: 64 MiB.
const MANY: usize = 64 << 8;

/// The number of pages in the row of page faults: 16 MiB.
const TOUCHED: usize = 16 << 8;

/// The number of pairs of map and unmap in a row.
const PAIRS: usize = 500;
/// The number of searches, or of checks of rights, in a row.
const QUERIES: usize = 200;

/// The two numbers of other areas in the address space. Each area is one page.
const FEW: usize = 10;
const MOST: usize = 10_000;
/// The distance from the start of one area to the start of the next, in pages.
const SPACING: usize = 4;

/// The error of an operation that an address space did not carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The result of a load: the number of operations that it did.
pub type Done = Result<usize, Refused>;

/// An address space under a load. Addresses and sizes are in bytes, and multiples of [`PAGE`].
pub trait Space {
    /// Returns the range in which loads may map: 4 GiB or more, from a multiple of 1 GiB on.
    fn range(&self) -> Range<usize>;

    /// Maps readable and writable pages, with frames now (`populate`) or at the first touch.
    ///
    /// # Errors
    ///
    /// Fails if the pages cannot be mapped.
    fn map(&mut self, start: usize, size: usize, populate: bool) -> Result<(), Refused>;

    /// Unmaps all pages that are mapped in the range.
    ///
    /// # Errors
    ///
    /// Fails if a page cannot be unmapped.
    fn unmap(&mut self, start: usize, size: usize) -> Result<(), Refused>;

    /// Makes mapped pages read-only, or writable again.
    ///
    /// # Errors
    ///
    /// Fails if the rights of a page cannot be changed.
    fn protect(&mut self, start: usize, size: usize, write: bool) -> Result<(), Refused>;

    /// Writes to the page at the address `page`, which may have no frame yet. Where there are
    /// no traps, calls the page fault handler instead.
    ///
    /// # Errors
    ///
    /// Fails if the page cannot be written.
    fn touch(&mut self, page: usize) -> Result<(), Refused>;

    /// Returns the lowest address from `hint` on at which `size` bytes inside `limit` are free.
    fn find_free(&self, hint: usize, size: usize, limit: Range<usize>) -> Option<usize>;

    /// Returns whether all pages of the range are mapped writable.
    fn can_write(&self, start: usize, size: usize) -> bool;
}

/// A counter of instructions or of time.
pub trait Watch {
    /// Runs `part`, and adds its cost. What a load does outside of `part` is not counted.
    fn time<R>(&mut self, part: impl FnOnce() -> R) -> R;
}

/// A consumer of rows, such as a program that prints a table.
pub trait Table {
    /// The counter that is passed to loads.
    type Watch: Watch;

    /// Is passed the load of each row, and runs it as often as it needs, or not at all.
    fn row<S: Space>(
        &mut self,
        name: &str,
        space: &mut S,
        load: impl Fn(&mut S, &mut Self::Watch) -> Done,
    );
}

/// Passes the rows of all loads on `space` to `table`.
pub fn rows<T: Table, S: Space>(table: &mut T, space: &mut S) {
    gibibyte(table, space);
    pages(table, space);
    pairs::<FEW, _, _>(table, "map_unmap.10", space);
    pairs::<MOST, _, _>(table, "map_unmap.10000", space);
    queries(table, space);
}

/// The rows of a lazy GiB that is never touched.
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

/// The rows that give a cost for each page.
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

/// The row of a lazy page that is mapped and unmapped among `COUNT` other areas.
fn pairs<const COUNT: usize, T: Table, S: Space>(table: &mut T, name: &str, space: &mut S) {
    table.row(name, space, |space, watch| {
        map_areas(space, COUNT)?;
        let start = space.range().start;
        watch.time(|| {
            (0..PAIRS).try_for_each(|number| {
                // The prime 7919 spreads the pages over all areas.
                let page = area_address(start, number * 7919 % COUNT) + 2 * PAGE;
                space.map(page, PAGE, false)?;
                space.unmap(page, PAGE)
            })
        })?;
        space.unmap(start, COUNT * SPACING * PAGE).map(|()| PAIRS)
    });
}

/// The rows of queries among many areas. The search finds no gap between them that is wide
/// enough, and the check of rights is for the last area.
fn queries<T: Table, S: Space>(table: &mut T, space: &mut S) {
    let wide = SPACING * PAGE;
    table.row("find_free.10000", space, |space, watch| {
        map_areas(space, MOST)?;
        let limit = space.range();
        let find = |_| black_box(space.find_free(black_box(limit.start), wide, limit.clone()));
        watch.time(|| (0..QUERIES).map(find).for_each(drop));
        space.unmap(limit.start, MOST * wide).map(|()| QUERIES)
    });
    table.row("can_access.10000", space, |space, watch| {
        map_areas(space, MOST)?;
        let start = space.range().start;
        let last = area_address(start, MOST - 1);
        let check = |_| black_box(space.can_write(black_box(last), PAGE));
        watch.time(|| (0..QUERIES).map(check).for_each(drop));
        space.unmap(start, MOST * wide).map(|()| QUERIES)
    });
}

/// Maps `count` areas of one page each, [`SPACING`] pages apart.
fn map_areas<S: Space>(space: &mut S, count: usize) -> Result<(), Refused> {
    let start = space.range().start;
    (0..count).try_for_each(|index| space.map(area_address(start, index), PAGE, false))
}

/// The address of the area with this index.
fn area_address(start: usize, index: usize) -> usize {
    start + index * SPACING * PAGE
}
