//! The rows of address spaces: mappings in the upper part of the kernel's, and users'.
//!
//! Each load unmaps all that it has mapped.

use alloc::format;
use core::hint::black_box;
use core::ops::Range;

use axstd::memory::{
    AddrSpace, AxResult, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, MappingFlags, SharedAspace,
    VirtAddrRange, kernel_aspace, load_kernel_aspace, new_kernel_aspace, new_user_aspace, tlb,
    usage,
};

use crate::table::Table;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The number of populated pages: 64 MiB, or 16 MiB on a small machine.
const MANY: usize = 64 << 8;
const FEWER: usize = 16 << 8;

/// The number of pages that are touched.
const TOUCHED: usize = 16 << 8;

/// The number of ranges of 1 GiB that are mapped in one measurement. Between two of them 1 GiB
/// stays free.
const GIBS: usize = 16;

/// The address of the first of these ranges.
const FIRST_GIB: usize = KERNEL_MAP_BASE.next_multiple_of(GIB);

/// The number of pairs of map and unmap in one measurement.
const PAIRS: usize = 500;

/// The number of lookups in one measurement.
const LOOKUPS: usize = 200;

/// The numbers of areas that exist while other operations are measured.
const FEW: usize = 10;
const MOST: usize = 10_000;

/// The distance, in pages, between the starts of two such areas, which have one page each.
const APART: usize = 4;

/// Adds all rows.
pub fn run(table: &mut Table) {
    boot(table);
    pages(table);
    gibibytes(table);
    flushes(table);
    for (count, at) in [(FEW, "10"), (MOST, "10000")] {
        if (0..count).try_for_each(map_area).is_err() {
            table.fail(at, "out of memory for the areas");
        } else {
            pairs(table, count, at);
        }
        if count == MOST {
            lookups(table, count, at);
        }
        unmap(all_addresses());
    }
    // These rows come last: a user address space makes the kernel keep the tables below its root.
    users(table);
}

/// The kernel's address space is built and loaded, as at boot.
fn boot(table: &mut Table) {
    table.timed("boot.kernel_aspace", |watch| {
        let aspace = watch.time(|| {
            let aspace = new_kernel_aspace();
            // This loads the kernel's actual address space, which has the same mappings. The new
            // one is dropped.
            load_kernel_aspace();
            aspace
        });
        aspace.map(|_| 1)
    });
}

/// The number of user address spaces that are created, and of rounds that enter them.
const USERS: usize = 64;

/// The first address of a user address space.
const USER_BASE: usize = 0x1_0000;

/// User address spaces are created, and entered.
fn users(table: &mut Table) {
    let new = || new_user_aspace(USER_BASE.into(), GIB);
    // The first one makes the kernel allocate the tables that all of them share.
    let first = new().and_then(|first| Ok((SharedAspace::new(first), SharedAspace::new(new()?))));
    let Ok((one, other)) = first else {
        return table.fail("user_aspace", "out of memory");
    };
    table.timed("user_aspace.new", |watch| {
        for _ in 0..USERS {
            // The drop is not measured. `less` subtracts the time that reading the clock takes.
            drop(watch.time(new)?);
            watch.less(|| ());
        }
        Ok(USERS)
    });
    let there_and_back = |_| one.run(|| other.run(|| ()));
    table.timed("user_aspace.switch", |watch| {
        watch.time(|| (0..USERS).try_for_each(|round| there_and_back(round)?))?;
        Ok(4 * USERS)
    });
}

/// Maps the area of number `index`.
fn map_area(index: usize) -> AxResult {
    map_at(area(index), PAGE, RW, false)
}

/// The costs per page of a page fault, populate, unmap and protect.
fn pages(table: &mut Table) {
    table.timed("fault.lazy_write", |watch| {
        let pages = map(TOUCHED, false)?;
        watch.time(|| touch(pages.clone()));
        watch.less(|| touch(pages.clone()));
        unmap(pages);
        Ok(TOUCHED)
    });
    let many = match usage().free > MANY * 3 / 2 {
        true => MANY,
        false => FEWER,
    };
    table.timed("populate.page", |watch| {
        let pages = watch.time(|| map(many, true))?;
        unmap(pages);
        Ok(many)
    });
    table.timed("unmap.page", |watch| {
        let pages = map(many, false)?;
        touch(pages.clone());
        watch.time(|| unmap(pages));
        Ok(many)
    });
    table.timed("protect.page", |watch| {
        let pages = map(many, true)?;
        let there = watch.time(|| protect(pages.clone(), RO));
        let back = watch.time(|| protect(pages.clone(), RW));
        unmap(pages);
        there.and(back).map(|()| 2 * many)
    });
}

/// The number of pages that are flushed one by one.
const FLUSHED: usize = 256;

/// The costs of flushing a page, of flushing the whole TLB, and of the TLB miss of each page
/// afterwards.
fn flushes(table: &mut Table) {
    table.timed("forget.page", |watch| {
        let pages = map(FLUSHED, true)?;
        watch.time(|| {
            for page in pages.clone().step_by(PAGE) {
                tlb::flush_local(page..page + PAGE);
            }
        });
        unmap(pages);
        Ok(FLUSHED)
    });
    table.timed("forget.all", |watch| {
        watch.time(|| (0..FLUSHED).for_each(|_| tlb::flush_local(tlb::EVERYTHING)));
        Ok(FLUSHED)
    });
    table.timed("forget.again", |watch| {
        let pages = map(FLUSHED, true)?;
        touch(pages.clone());
        tlb::flush_local(tlb::EVERYTHING);
        watch.time(|| touch(pages.clone()));
        watch.less(|| touch(pages.clone()));
        unmap(pages);
        Ok(FLUSHED)
    });
}

/// Ranges of 1 GiB that are not touched.
fn gibibytes(table: &mut Table) {
    let starts = || (0..GIBS).map(|index| FIRST_GIB + 2 * index * GIB);
    let map_all = || starts().try_for_each(|start| map_at(start, GIB, RW, false));
    let unmap_all = || starts().for_each(|start| unmap(start..start + GIB));
    table.timed("map_lazy.1g", |watch| {
        watch.time(map_all)?;
        unmap_all();
        Ok(GIBS)
    });
    table.timed("unmap_lazy.1g", |watch| {
        map_all()?;
        watch.time(unmap_all);
        Ok(GIBS)
    });
    let before = usage().free;
    match map_at(FIRST_GIB, GIB, RW, false) {
        Ok(()) => table.count("map_lazy.1g.frames", before - usage().free, "frames"),
        Err(_) => table.fail("map_lazy.1g.frames", "out of memory"),
    }
    unmap(FIRST_GIB..FIRST_GIB + GIB);
}

/// Returns the address of the area of number `index`.
fn area(index: usize) -> usize {
    KERNEL_MAP_BASE + index * APART * PAGE
}

/// A page is mapped and unmapped while `count` other areas exist.
fn pairs(table: &mut Table, count: usize, at: &str) {
    let pair = |number: usize| -> AxResult {
        // 7919 is a prime, so that the pages are spread over all areas.
        let page = area(number * 7919 % count) + 2 * PAGE;
        map_at(page, PAGE, RW, false)?;
        unmap(page..page + PAGE);
        Ok(())
    };
    table.timed(&format!("map_unmap.{at}"), |watch| {
        watch.time(|| (0..PAIRS).try_for_each(pair))?;
        Ok(PAIRS)
    });
}

/// Lookups among `count` areas, in the worst case: no gap between the areas is large enough, and
/// the last area is the one to find.
fn lookups(table: &mut Table, count: usize, at: &str) {
    let all = all_addresses();
    let limit = VirtAddrRange::new(all.start.into(), all.end.into());
    table.timed(&format!("find_free.{at}"), |watch| {
        let aspace = kernel_aspace();
        let find = |_| black_box(aspace.find_free_area(limit.start, APART * PAGE, limit));
        watch.time(|| (0..LOOKUPS).map(find).for_each(drop));
        Ok(LOOKUPS)
    });
    let last = area(count - 1).into();
    table.timed(&format!("can_access.{at}"), |watch| {
        let aspace = kernel_aspace();
        let lookup = |_| black_box(aspace.can_access_range(black_box(last), PAGE, RW));
        watch.time(|| (0..LOOKUPS).map(lookup).for_each(drop));
        Ok(LOOKUPS)
    });
}

/// Returns all addresses that can be mapped without an owner.
fn all_addresses() -> Range<usize> {
    KERNEL_MAP_BASE..KERNEL_OWNED_BASE
}

/// Maps `count` pages from the lowest address on, and returns their addresses.
fn map(count: usize, populate: bool) -> AxResult<Range<usize>> {
    map_at(KERNEL_MAP_BASE, count * PAGE, RW, populate)?;
    Ok(KERNEL_MAP_BASE..KERNEL_MAP_BASE + count * PAGE)
}

fn map_at(start: usize, size: usize, flags: MappingFlags, populate: bool) -> AxResult {
    map_in(kernel_aspace(), start, size, flags, populate)
}

/// Maps pages in an address space. All rows map by this function, so that the compiler puts the
/// code of a mapping into one place. Rows about forks do not change the cost of the others then.
pub fn map_in(
    aspace: &AddrSpace,
    start: usize,
    size: usize,
    flags: MappingFlags,
    populate: bool,
) -> AxResult {
    aspace.map_alloc(start.into(), size, flags, populate)
}

fn protect(pages: Range<usize>, flags: MappingFlags) -> AxResult {
    let aspace = kernel_aspace();
    aspace.protect(pages.start.into(), pages.len(), flags)
}

/// Unmaps whole areas, which cannot fail. Only an unmap that splits an area allocates memory.
fn unmap(pages: Range<usize>) {
    let aspace = kernel_aspace();
    let _ = aspace.unmap(pages.start.into(), pages.len());
}

/// Writes a byte to each page.
fn touch(pages: Range<usize>) {
    for page in pages.step_by(PAGE) {
        let byte = core::ptr::with_exposed_provenance_mut::<u8>(page);
        // SAFETY: the callers have mapped the page readable and writable, and only they use it.
        unsafe { byte.write_volatile(1) };
    }
}
