//! The rows of shootdowns that several address spaces have in common: the requests of a memory
//! object that all of them map.
//!
//! Each other hart is in an address space of its own, so each address space has a hart that must
//! flush, or none if there are fewer harts. The first hart is in no address space that maps the object.

use alloc::boxed::Box;
use alloc::format;
use core::array;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::harts;
use axstd::memory::{
    AddrSpace, AxResult, MappingFlags, SharedAspace, Sharing, USER_BASE, Vmo, new_user_aspace,
};

use crate::harts::{Counts, wait_for};
use crate::table::Table;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// The number of address spaces that map the object.
const SPACES: usize = 8;

/// The numbers of pages of the object.
const PAGES: [usize; 2] = [1, 64];

/// What the object does: the word in the row's name, and the operation.
type Operation = (&'static str, fn(&Vmo) -> AxResult);

const OPERATIONS: [Operation; 2] = [
    ("snapshot", |object| object.snapshot().map(drop)),
    ("shrink", |object| object.resize(0)),
];

/// Adds all rows.
pub fn run(table: &mut Table) {
    // In a Linux process all harts share one lower half, so two address spaces are never in use at
    // the same time.
    if cfg!(target_os = "linux") {
        return;
    }
    for pages in PAGES {
        match count_all(pages) {
            Ok(counts) => {
                for ((operation, _), counts) in OPERATIONS.into_iter().zip(counts) {
                    let row = format!("asked.spaces.{operation}.{pages}");
                    counts.add(table, &row, harts::online() - 1);
                }
            }
            Err(error) => table.fail("asked.spaces", &format!("{error:?}")),
        }
    }
}

/// Maps an object of so many pages in all address spaces, and counts the requests of each operation
/// while all harts are inside.
fn count_all(pages: usize) -> AxResult<[Counts; OPERATIONS.len()]> {
    let object = Vmo::new_resizable(pages * PAGE)?;
    let mut spaces = [const { None }; SPACES];
    for space in &mut spaces {
        *space = Some(show(&object)?);
    }
    let spaces = spaces.each_ref().map(Option::as_deref);
    let mut counts = [Ok(Counts::default()); OPERATIONS.len()];
    let count = || {
        counts = array::from_fn(|number| {
            spaces
                .iter()
                .flatten()
                .try_for_each(|space| touch(space, pages))?;
            Counts::by(|| OPERATIONS[number].1(&object))
        });
    };
    with_harts_inside(&spaces, count)?;
    let [snapshot, shrink] = counts;
    Ok([snapshot?, shrink?])
}

/// Makes an address space that maps all of the object.
fn show(object: &Vmo) -> AxResult<Pin<Box<SharedAspace>>> {
    let space = Box::pin(SharedAspace::new(new_user_aspace(USER_BASE.into(), GIB)?));
    // SAFETY: the address space is a part of the `SharedAspace`, which does not move.
    let pinned = unsafe {
        space
            .as_ref()
            .map_unchecked(|shared| -> &AddrSpace { shared })
    };
    let (start, size) = (USER_BASE.into(), object.len());
    pinned.map_object(start, size, RW, object, 0, Sharing::Shared)?;
    Ok(space)
}

/// Faults all pages in for writing.
fn touch(space: &AddrSpace, pages: usize) -> AxResult {
    Ok((0..pages).try_for_each(|page| {
        let vaddr = USER_BASE + page * PAGE;
        space.fault(vaddr.into(), MappingFlags::WRITE)
    })?)
}

/// Runs `work` on the first hart while each other hart is in one of the address spaces.
fn with_harts_inside(
    spaces: &[Option<&SharedAspace>; SPACES],
    work: impl FnOnce() + Send,
) -> AxResult {
    let (inside, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = spin::Mutex::new(Some(work));
    harts::run_on_all(|hart| {
        if hart == 0 {
            wait_for(|| inside.load(Ordering::Acquire) == harts::online() - 1);
            if let Some(work) = work.lock().take() {
                work();
            }
            done.store(true, Ordering::Release);
            return;
        }
        let wait = || {
            inside.fetch_add(1, Ordering::AcqRel);
            wait_for(|| done.load(Ordering::Acquire));
        };
        // A hart that cannot enter leaves a row of too few requests, and is counted nevertheless.
        if spaces[hart % SPACES].is_none_or(|space| space.run(wait).is_err()) {
            inside.fetch_add(1, Ordering::AcqRel);
        }
    })
}
