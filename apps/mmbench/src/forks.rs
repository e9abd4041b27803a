//! The rows of forks and of copy-on-write, in address spaces of user programs.
//!
//! Faults are calls of [`AddrSpace::fault`] while the hart is inside the address space. They
//! include the TLB flush, but not the trap. No row includes what its load drops.

use core::hint::black_box;
use core::ptr;

use axstd::memory::{
    AddrSpace, AxResult, Frames, MappingFlags, SharedAspace, UsageKind, alloc_frame,
    alloc_frame_zeroed, new_user_aspace, phys_to_virt,
};
use axstd::os::arceos::modules::axhal::probe::copy;

use crate::aspace::map_in;
use crate::table::{Table, Watch};

const PAGE: usize = 4096;
const MIB2: usize = 2 << 20;
const GIB: usize = 1 << 30;
const READ: MappingFlags = MappingFlags::READ;
const WRITE: MappingFlags = MappingFlags::WRITE;
const RW: MappingFlags = READ.union(WRITE);

/// The first address of the address spaces, and their size. Whole page tables of 1 GiB translate
/// them.
const BASE: usize = GIB;
const SIZE: usize = 4 * GIB;

/// The number of 2 MiB blocks whose page tables are not shared.
const BLOCKS: usize = 8;

/// The number of pages of such a block that own their frames. The last page is linear.
const OWNED: usize = 511;

/// The number of page tables of 2 MiB that are shared one by one.
const TABLES: usize = 256;

/// The number of frames that are copied.
const COPIES: usize = 64;

/// Adds all rows.
pub fn run(table: &mut Table) {
    let frames = || alloc_frame_zeroed(UsageKind::Global).and_then(|frame| Ok((frame, new()?)));
    // The first user address space makes the kernel allocate the tables that all of them share.
    let Ok((linear, _)) = frames() else {
        return table.fail("fork", "out of memory");
    };
    copies(table);
    forks(table, &linear);
    first_writes(table, &linear);
    first_reads(table);
    exits(table, &linear);
}

fn new() -> AxResult<AddrSpace> {
    new_user_aspace(BASE.into(), SIZE)
}

/// Maps `linear` at `start`.
fn map_linear(space: &AddrSpace, start: usize, linear: &Frames) -> AxResult {
    // SAFETY: the frame stays allocated until all loads have ended, and nothing accesses it.
    unsafe { space.map_linear(start.into(), linear.start(), PAGE, RW) }
}

/// Returns the addresses of the first `count` pages of each block of [`mixed_space`].
fn mixed_pages(count: usize) -> impl Iterator<Item = usize> + Clone {
    first_pages(BLOCKS).flat_map(move |start| (start..).step_by(PAGE).take(count))
}

/// Returns an address space with [`BLOCKS`] page tables of 2 MiB. None can be shared, because each
/// has a linear page. The first `touched` pages that own their frames are touched in each.
fn mixed_space(linear: &Frames, touched: usize) -> AxResult<AddrSpace> {
    let space = new()?;
    for start in (BASE..).step_by(MIB2).take(BLOCKS) {
        map_in(&space, start, OWNED * PAGE, RW, false)?;
        map_linear(&space, start + OWNED * PAGE, linear)?;
    }
    touch(&space, mixed_pages(touched))?;
    Ok(space)
}

/// Returns the addresses of the first pages of the page tables of 2 MiB.
fn first_pages(tables: usize) -> impl Iterator<Item = usize> + Clone {
    (BASE..).step_by(MIB2).take(tables)
}

/// Returns an address space with [`TABLES`] page tables of 2 MiB that can be shared, but not the
/// table of 1 GiB above them, because it has a linear page. The first `touched` of them have a touched
/// page.
fn space_of_tables(linear: &Frames, touched: usize) -> AxResult<AddrSpace> {
    let space = new()?;
    map_in(&space, BASE, TABLES * MIB2, RW, false)?;
    map_linear(&space, BASE + GIB - PAGE, linear)?;
    touch(&space, first_pages(touched))?;
    Ok(space)
}

/// Makes write faults on lazy pages.
fn touch(space: &AddrSpace, mut pages: impl Iterator<Item = usize>) -> AxResult {
    pages.try_for_each(|page| fault(space, page, WRITE))
}

fn fault(space: &AddrSpace, page: usize, access: MappingFlags) -> AxResult {
    Ok(space.fault(page.into(), access)?)
}

/// Times faults on `pages`, inside the address space. Returns their number.
fn time_faults(
    watch: &mut Watch,
    space: AddrSpace,
    pages: impl Iterator<Item = usize> + Clone,
    access: MappingFlags,
) -> AxResult<usize> {
    let space = SharedAspace::new(space);
    let mut pages_left = pages.clone();
    let faults = || pages_left.try_for_each(|page| fault(&space, page, access));
    space.run(|| watch.time(faults))??;
    Ok(pages.count())
}

/// A frame is copied to another, as copy-on-write copies it.
fn copies(table: &mut Table) {
    table.timed("frame.copy", |watch| {
        let from = alloc_frame_zeroed(UsageKind::Global)?;
        let mut to = alloc_frame(UsageKind::Global)?;
        let source = ptr::with_exposed_provenance(phys_to_virt(from.start().into()));
        let bytes = to.as_bytes_mut();
        watch.time(|| {
            for _ in 0..COPIES {
                // SAFETY: both frames are allocated, and this hart alone uses them.
                black_box(unsafe { copy(source, bytes.as_mut_ptr(), PAGE) });
            }
        });
        Ok(COPIES)
    });
}

/// Times a fork of `touched`, less one of `untouched`, which has fewer touched pages.
fn time_fork(watch: &mut Watch, touched: &AddrSpace, untouched: &AddrSpace) -> AxResult {
    drop(watch.time(|| touched.fork())?);
    let mut child = None;
    watch.less(|| child = Some(untouched.fork()));
    child.map_or(Ok(()), |child| child.map(drop))
}

/// Forks. The first two rows are the difference between a fork with touched pages and one of the
/// same areas with as few as make the child have the same tables.
fn forks(table: &mut Table, linear: &Frames) {
    table.timed("fork.page", |watch| {
        let spaces = (mixed_space(linear, OWNED)?, mixed_space(linear, 1)?);
        time_fork(watch, &spaces.0, &spaces.1)?;
        Ok(BLOCKS * (OWNED - 1))
    });
    table.timed("fork.2m", |watch| {
        let spaces = (
            space_of_tables(linear, TABLES)?,
            space_of_tables(linear, 1)?,
        );
        time_fork(watch, &spaces.0, &spaces.1)?;
        Ok(TABLES - 1)
    });
    table.timed("fork.1g", |watch| {
        let space = new()?;
        map_in(&space, BASE, GIB, RW, false)?;
        touch(&space, first_pages(GIB / MIB2))?;
        drop(watch.time(|| space.fork())?);
        Ok(1)
    });
}

/// The first write to a page after a fork.
fn first_writes(table: &mut Table, linear: &Frames) {
    // The copy of a page table whose 512 pages are all in use, and the copy of the page.
    table.timed("fork.touch_2m", |watch| {
        let space = new()?;
        map_in(&space, BASE, BLOCKS * MIB2, RW, false)?;
        map_linear(&space, BASE + GIB - PAGE, linear)?;
        touch(&space, (BASE..).step_by(PAGE).take(BLOCKS * MIB2 / PAGE))?;
        time_faults(watch, space.fork()?, first_pages(BLOCKS), WRITE)
    });
    table.timed("cow.copy", |watch| {
        let space = mixed_space(linear, OWNED)?;
        time_faults(watch, space.fork()?, mixed_pages(OWNED), WRITE)
    });
    table.timed("cow.reuse", |watch| {
        let space = mixed_space(linear, OWNED)?;
        drop(space.fork()?);
        time_faults(watch, space, mixed_pages(OWNED), WRITE)
    });
}

/// The first read of a lazy page, which maps the zero frame. The page tables are there.
fn first_reads(table: &mut Table) {
    table.timed("cow.read_zero", |watch| {
        let space = new()?;
        map_in(&space, BASE, MIB2, RW, false)?;
        fault(&space, BASE, WRITE)?;
        let pages = (BASE..).step_by(PAGE).take(MIB2 / PAGE).skip(1);
        time_faults(watch, space, pages, READ)
    });
}

/// An area is unmapped below which all page tables are shared, less an unmap without tables.
fn exits(table: &mut Table, linear: &Frames) {
    table.timed("exit.shared_2m", |watch| {
        let spaces = (
            space_of_tables(linear, TABLES)?,
            space_of_tables(linear, 0)?,
        );
        let unmap = |space: &AddrSpace| space.unmap(BASE.into(), TABLES * MIB2);
        let child = spaces.0.fork()?;
        watch.time(|| unmap(&child))?;
        let mut unmapped = Ok(());
        watch.less(|| unmapped = unmap(&spaces.1));
        unmapped.map(|()| TABLES)
    });
}
