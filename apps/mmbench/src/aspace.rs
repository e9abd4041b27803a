//! Rows of the kernel's address space: what mappings of its upper part cost.
//!
//! Each load leaves the address space as it found it.

use alloc::format;
use core::hint::black_box;
use core::ops::Range;

use axstd::memory::{
    AxResult, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, MappingFlags, SharedAspace, VirtAddrRange,
    kernel_aspace, load_kernel_aspace, new_kernel_aspace, new_user_aspace, tlb, usage,
};

use crate::table::Table;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// Pages that are mapped with their frames: 64 MiB, on a small machine 16 MiB.
const MANY: usize = 64 << 8;
const FEWER: usize = 16 << 8;

/// Pages that are touched.
const TOUCHED: usize = 16 << 8;

/// GiBs mapped between two looks at the clock, a GiB apart.
const GIBS: usize = 16;

/// The first of them.
const FIRST_GIB: usize = KERNEL_MAP_BASE.next_multiple_of(GIB);

/// Pairs of map and unmap between two looks at the clock.
const PAIRS: usize = 500;

/// Searches and questions between two looks at the clock.
const QUESTIONS: usize = 200;

/// Areas that lie in the way.
const FEW: usize = 10;
const MOST: usize = 10_000;

/// An area in the way is a page; from one to the next are so many.
const APART: usize = 4;

/// All rows.
pub fn run(table: &mut Table) {
    whole(table);
    pages(table);
    gibibytes(table);
    forgetting(table);
    for (count, at) in [(FEW, "10"), (MOST, "10000")] {
        if (0..count).try_for_each(in_the_way).is_err() {
            table.fail(at, "there is no memory for the areas");
        } else {
            pairs(table, count, at);
        }
        if count == MOST {
            questions(table, count, at);
        }
        unmap(everything());
    }
    // Last: they make the kernel's table keep what is right below its root.
    users(table);
}

/// The kernel's address space, as at boot.
fn whole(table: &mut Table) {
    table.timed("boot.kernel_aspace", |watch| {
        let aspace = watch.time(|| {
            let aspace = new_kernel_aspace();
            // Its like, which stays.
            load_kernel_aspace();
            aspace
        });
        aspace.map(|_| 1)
    });
}

/// How many address spaces of user programs are made, and how often one is entered.
const USERS: usize = 64;

/// Where theirs begin.
const USER_BASE: usize = 0x1_0000;

/// Address spaces of user programs.
fn users(table: &mut Table) {
    let new = || new_user_aspace(USER_BASE.into(), GIB);
    // The first makes the kernel's ready for all.
    let first = new().and_then(|first| Ok((SharedAspace::new(first), SharedAspace::new(new()?))));
    let Ok((one, other)) = first else {
        return table.fail("user_aspace", "out of memory");
    };
    table.timed("user_aspace.new", |watch| {
        for _ in 0..USERS {
            // It goes outside. What the clock takes itself is not its.
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

/// Maps one of the areas in the way.
fn in_the_way(index: usize) -> AxResult {
    map_at(place(index), PAGE, RW, false)
}

/// Rows by the page.
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

/// Pages that are forgotten one by one.
const FORGOTTEN: usize = 256;

/// What it takes to forget a page, or everything, and what comes after: each page that
/// was known is looked up again.
fn forgetting(table: &mut Table) {
    table.timed("forget.page", |watch| {
        let pages = map(FORGOTTEN, true)?;
        watch.time(|| {
            for page in pages.clone().step_by(PAGE) {
                tlb::flush_here(page..page + PAGE);
            }
        });
        unmap(pages);
        Ok(FORGOTTEN)
    });
    table.timed("forget.all", |watch| {
        watch.time(|| (0..FORGOTTEN).for_each(|_| tlb::flush_here(tlb::EVERYTHING)));
        Ok(FORGOTTEN)
    });
    table.timed("forget.again", |watch| {
        let pages = map(FORGOTTEN, true)?;
        touch(pages.clone());
        tlb::flush_here(tlb::EVERYTHING);
        watch.time(|| touch(pages.clone()));
        watch.less(|| touch(pages.clone()));
        unmap(pages);
        Ok(FORGOTTEN)
    });
}

/// A GiB that nobody touches.
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

/// The place of one of the areas in the way.
fn place(index: usize) -> usize {
    KERNEL_MAP_BASE + index * APART * PAGE
}

/// Mapping and unmapping a page with `count` other areas.
fn pairs(table: &mut Table, count: usize, at: &str) {
    let pair = |number: usize| -> AxResult {
        // All over the areas: 7919 is a prime.
        let page = place(number * 7919 % count) + 2 * PAGE;
        map_at(page, PAGE, RW, false)?;
        unmap(page..page + PAGE);
        Ok(())
    };
    table.timed(&format!("map_unmap.{at}"), |watch| {
        watch.time(|| (0..PAIRS).try_for_each(pair))?;
        Ok(PAIRS)
    });
}

/// What is asked of `count` areas: no gap between them is wide enough, and it is
/// the last that is meant.
fn questions(table: &mut Table, count: usize, at: &str) {
    let all = everything();
    let limit = VirtAddrRange::new(all.start.into(), all.end.into());
    table.timed(&format!("find_free.{at}"), |watch| {
        let aspace = kernel_aspace();
        let find = |_| black_box(aspace.find_free_area(limit.start, APART * PAGE, limit));
        watch.time(|| (0..QUESTIONS).map(find).for_each(drop));
        Ok(QUESTIONS)
    });
    let last = place(count - 1).into();
    table.timed(&format!("can_access.{at}"), |watch| {
        let aspace = kernel_aspace();
        let ask = |_| black_box(aspace.can_access_range(black_box(last), PAGE, RW));
        watch.time(|| (0..QUESTIONS).map(ask).for_each(drop));
        Ok(QUESTIONS)
    });
}

/// All addresses of mappings that need no owner.
fn everything() -> Range<usize> {
    KERNEL_MAP_BASE..KERNEL_OWNED_BASE
}

/// Maps `count` pages from the lowest address on.
fn map(count: usize, populate: bool) -> AxResult<Range<usize>> {
    map_at(KERNEL_MAP_BASE, count * PAGE, RW, populate)?;
    Ok(KERNEL_MAP_BASE..KERNEL_MAP_BASE + count * PAGE)
}

fn map_at(start: usize, size: usize, flags: MappingFlags, populate: bool) -> AxResult {
    let aspace = kernel_aspace();
    aspace.map_alloc(start.into(), size, flags, populate)
}

fn protect(pages: Range<usize>, flags: MappingFlags) -> AxResult {
    let aspace = kernel_aspace();
    aspace.protect(pages.start.into(), pages.len(), flags)
}

/// Unmaps what has been mapped here, which cannot fail: no area is cut.
fn unmap(pages: Range<usize>) {
    let aspace = kernel_aspace();
    let _ = aspace.unmap(pages.start.into(), pages.len());
}

/// Writes a byte to each page.
fn touch(pages: Range<usize>) {
    for page in pages.step_by(PAGE) {
        let byte = core::ptr::with_exposed_provenance_mut::<u8>(page);
        // SAFETY: the page is mapped for this load alone, readable and writable.
        unsafe { byte.write_volatile(1) };
    }
}
