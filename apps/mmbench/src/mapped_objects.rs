//! The rows of memory objects that address spaces map.

use alloc::boxed::Box;
use core::pin::Pin;

use axstd::memory::{AddrSpace, AxError, AxResult, MappingFlags, Sharing, Vmo, new_user_aspace};

use crate::table::Table;

const PAGE: usize = 4096;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// Where an object is mapped.
const START: usize = 1 << 30;

/// The number of pages of an object, which are those of one page table.
const PAGES: usize = 512;

/// The number of address spaces that map an object which shrinks.
const SPACES: usize = 8;

/// Adds all rows.
pub fn run(table: &mut Table) {
    table.timed("object.fault", |watch| {
        let (space, _object) = mapped()?;
        // The first fault makes the page tables.
        space.fault(START.into(), MappingFlags::READ)?;
        watch.time(|| {
            (1..PAGES).try_for_each(|page| {
                let vaddr = START + page * PAGE;
                space.fault(vaddr.into(), MappingFlags::READ)
            })
        })?;
        Ok(PAGES - 1)
    });
    // All pages have been written since the last snapshot. A snapshot of the object without the
    // mapping is not counted.
    table.timed("snapshot.create_mapped", |watch| {
        let (space, object) = mapped()?;
        write_all(&space)?;
        let mapped = watch.time(|| object.snapshot())?;
        drop(space);
        let mut unmapped = Err(AxError::BadState);
        watch.less(|| unmapped = object.snapshot());
        drop((mapped, unmapped?));
        Ok(PAGES)
    });
    table.timed("object.shrink", |watch| {
        let object = Vmo::new_resizable(PAGES * PAGE)?;
        object.commit(0..PAGES * PAGE)?;
        let mut spaces = [const { None }; SPACES];
        for place in &mut spaces {
            let space = mapped_in(&object)?;
            write_all(&space)?;
            *place = Some(space);
        }
        watch.time(|| object.resize(0))?;
        drop(spaces);
        Ok(PAGES * SPACES)
    });
}

/// Makes an object, all of whose pages have frames, and an address space that maps it.
fn mapped() -> AxResult<(Pin<Box<AddrSpace>>, Vmo)> {
    let object = Vmo::new_paged(PAGES * PAGE)?;
    object.commit(0..PAGES * PAGE)?;
    Ok((mapped_in(&object)?, object))
}

fn mapped_in(object: &Vmo) -> AxResult<Pin<Box<AddrSpace>>> {
    let space = Box::pin(new_user_aspace(START.into(), 1 << 30)?);
    let size = object.len();
    space
        .as_ref()
        .map_object(START.into(), size, RW, object, 0, Sharing::Shared)?;
    Ok(space)
}

/// Faults all pages in for writing.
fn write_all(space: &AddrSpace) -> AxResult {
    Ok((0..PAGES).try_for_each(|page| {
        let vaddr = START + page * PAGE;
        space.fault(vaddr.into(), MappingFlags::WRITE)
    })?)
}
