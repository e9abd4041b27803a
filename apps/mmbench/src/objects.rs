//! The rows of memory objects. No object is mapped.

use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;
use core::mem;

use axstd::memory::{Access, AxError, AxResult, Vmo};

use crate::table::Table;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const TIB: usize = 1 << 40;

/// The number of pages of one leaf of an object's tree.
const LEAF_PAGES: usize = 64;

/// The size of a full object, all of whose pages have a frame. Its tree has two levels: a root and
/// 64 leaves.
const FULL: usize = 16 * MIB;
const LEAVES: usize = FULL / (LEAF_PAGES * PAGE);

/// The number of operations in one measurement of a short operation.
const ROUNDS: usize = 500;

/// The number of snapshots in a chain.
const CHAIN: usize = 1000;

/// Adds all rows.
pub fn run(table: &mut Table) {
    copy(table);
    create(table, "4k", PAGE, PAGE);
    create(table, "1t", TIB, GIB);
    chain(table);
    writes(table);
    requests(table);
}

/// Makes an object of `size` bytes, a page of which is written every `distance` bytes.
fn object(size: usize, distance: usize) -> AxResult<Vmo> {
    let object = Vmo::new_paged(size)?;
    for offset in (0..size).step_by(distance) {
        object.write(offset, &[1])?;
    }
    Ok(object)
}

/// Makes an object of [`FULL`] bytes, all of whose pages have a frame.
fn full() -> AxResult<Vmo> {
    let object = Vmo::new_paged(FULL)?;
    object.commit(0..FULL)?;
    Ok(object)
}

/// The bytes of a page are copied: a read of a whole page, less one of a single byte.
fn copy(table: &mut Table) {
    table.timed("object.copy", |watch| {
        let object = object(PAGE, PAGE)?;
        let mut bytes = [0; PAGE];
        let mut read = |len| object.read(0, &mut bytes[..len]);
        watch.time(|| (0..ROUNDS).try_for_each(|_| read(PAGE)))?;
        let mut shorter = Ok(());
        watch.less(|| shorter = (0..ROUNDS).try_for_each(|_| read(1)));
        shorter.map(|()| ROUNDS)
    });
}

/// The number of snapshots that exist at once. The heap's magazine has room for their blocks.
const SNAPSHOTS: usize = 8;

/// Snapshots of an object of `size` bytes are made. Their drops are not measured.
fn create(table: &mut Table, at: &str, size: usize, distance: usize) {
    table.timed(&format!("snapshot.create.{at}"), |watch| {
        let object = object(size, distance)?;
        // The first snapshot of an object also allocates a count, which the others share.
        let _first = object.snapshot()?;
        for _ in 0..ROUNDS / SNAPSHOTS {
            let mut snapshots = [const { None }; SNAPSHOTS];
            watch.time(|| {
                snapshots.iter_mut().try_for_each(|snapshot| {
                    *snapshot = Some(object.snapshot()?);
                    Ok::<_, AxError>(())
                })
            })?;
            watch.less(|| ());
        }
        Ok(ROUNDS / SNAPSHOTS * SNAPSHOTS)
    });
}

/// Makes an object, and a chain of snapshots: each is a snapshot of the one before. Each has
/// written to another page.
fn chain_of(snapshots: usize) -> AxResult<Vec<Vmo>> {
    let mut chain = Vec::new();
    let reserved = chain.try_reserve(snapshots + 1);
    reserved.map_err(|_| AxError::NoMemory)?;
    let mut last = object(FULL, LEAF_PAGES * PAGE)?;
    for number in 0..snapshots {
        let next = last.snapshot()?;
        next.write((LEAF_PAGES + number) * PAGE, &[2])?;
        chain.push(mem::replace(&mut last, next));
    }
    chain.push(last);
    Ok(chain)
}

/// Eight bytes of a page are read through the original and through the last snapshot of a chain.
fn chain(table: &mut Table) {
    let chain = match chain_of(CHAIN) {
        Ok(chain) => chain,
        Err(error) => return table.fail("snapshot.read", &format!("{error:?}")),
    };
    for (name, object) in [("root", &chain[0]), ("1000", &chain[CHAIN])] {
        table.timed(&format!("snapshot.read.{name}"), |watch| {
            let mut bytes = [0; 8];
            let mut read = |_| object.read(0, black_box(&mut bytes));
            watch.time(|| (0..ROUNDS).try_for_each(&mut read))?;
            Ok(ROUNDS)
        });
    }
}

/// Pages are requested for writing, as the page fault of a write to a mapping does. A snapshot has
/// each of them, too, so that a page is copied.
fn writes(table: &mut Table) {
    // The root, a full leaf and the page are copied.
    table.timed("snapshot.first_write", |watch| {
        let object = full()?;
        for leaf in 0..LEAVES {
            let snapshot = object.snapshot()?;
            let offset = leaf * LEAF_PAGES * PAGE;
            watch.time(|| object.request(offset, Access::Write))?;
            watch.less(|| ());
            drop(snapshot);
        }
        Ok(LEAVES)
    });
    // The page alone is copied: the root and the leaf have been.
    table.timed("snapshot.next_write", |watch| {
        let object = full()?;
        let _snapshot = object.snapshot()?;
        object.request(0, Access::Write)?;
        let pages = 1..LEAF_PAGES;
        let write = |page| object.request(page * PAGE, Access::Write).map(drop);
        watch.time(|| pages.clone().try_for_each(write))?;
        Ok(pages.len())
    });
}

/// Pages are requested for writing that the object alone has: the last page of a leaf, and a run
/// of all pages of a leaf.
fn requests(table: &mut Table) {
    for (name, page) in [
        ("object.request", LEAF_PAGES - 1),
        ("object.request.run", 0),
    ] {
        table.timed(name, |watch| {
            let object = full()?;
            let request = |_| {
                let run = object.request(black_box(page * PAGE), Access::Write);
                run.map(|run| _ = black_box(run))
            };
            watch.time(|| (0..ROUNDS).try_for_each(request))?;
            Ok(ROUNDS)
        });
    }
}
