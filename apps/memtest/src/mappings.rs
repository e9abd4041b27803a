//! Mappings in the kernel's address space: each kind works as documented, and frees all its frames.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use axstd::memory::probe::{can_read, can_write};
use axstd::memory::{
    AxError, KERNEL_MAP_BASE, Mapping, MappingFlags, MemRegionFlags, UsageKind, VirtAddrRange,
    alloc_frames_zeroed, kernel_aspace, print_maps, tlb_counters, usage,
};
use axstd::os::arceos::modules::axhal::mem::for_each_region;
use axstd::{env, harts, println};
use fastrand::Rng;

use crate::mapped_memory::{without_leak, word_at};
use crate::report::{Outcome, Report, check, error_text, on_all};

const PAGE: usize = 4096;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// The number of pages of a mapping.
const PAGES: usize = 64;

/// The number of pages, in the mappings of all harts together, whose rights change one by one.
/// The number is small because every such change is a shootdown.
const ONE_BY_ONE: usize = 32;

/// Runs the tests of this file.
pub fn run(report: &mut Report, seed: u64) {
    let on_each_hart = |kind: fn(Rng) -> Result<(), String>| {
        without_leak(|| {
            on_all(|hart| kind(Rng::with_seed(seed ^ hart as u64)))?;
            Ok(format!(
                "{PAGES} pages on each of {} harts",
                harts::online()
            ))
        })
    };
    report.test("mappings: lazy", || on_each_hart(lazy));
    report.test("mappings: populated", || on_each_hart(populated));
    report.test("mappings: linear", || on_each_hart(linear));
    report.test("mappings: device memory", || without_leak(devices));
    report.test("mappings: used by all harts", || {
        without_leak(used_by_all_harts)
    });
    report.test("mappings: no stale TLB entry", || {
        without_leak(no_stale_tlb_entry)
    });
    report.test("mappings: drop after reuse", || {
        without_leak(drop_after_reuse)
    });
    report.test("mappings: invalid requests", || {
        without_leak(invalid_requests)
    });
    report.test("mappings: free-range search", || {
        without_leak(free_range_search)
    });
    // `make maps` sets this variable. The listing at the end of the run shows no mapping of
    // memtest, so that this test prints one with a mapping of each kind.
    if env::var("maps").is_some() {
        report.test("mappings: listing", || without_leak(listing));
    }
}

/// Writes `value` to the word at `addr`, which only this hart uses, and reads it back.
fn touch(addr: usize, value: u64) -> Result<(), String> {
    // SAFETY: the callers have mapped the page writable, and no two harts use the same word.
    let found = unsafe {
        word_at(addr).write_volatile(value);
        word_at(addr).read_volatile()
    };
    check(found == value, || {
        format!("{addr:#x} holds {found:#x}, not {value:#x}")
    })
}

/// Checks whether the page at `addr`, which only this hart uses, can be read and written.
fn expect(addr: usize, read: bool, write: bool) -> Result<(), String> {
    check(can_read(addr) == read, || {
        format!("{addr:#x}: readable should be {read}")
    })?;
    // SAFETY: the page belongs to a mapping that only this hart uses.
    let writable = unsafe { can_write(addr) };
    check(writable == write, || {
        format!("{addr:#x}: writable should be {write}")
    })
}

/// Makes some of a mapping's pages read-only, then writable again, then unmaps them: page by
/// page, in random order. The other pages must keep their rights.
fn protect_and_unmap(mut mapping: Mapping, mut rng: Rng) -> Result<(), String> {
    let start = mapping.start();
    // The first and the last page stay mapped. Their addresses, with free ones beside them,
    // could be given to a hart that makes its mapping at this time.
    let mut order: Vec<usize> = (1..PAGES - 1).collect();
    rng.shuffle(&mut order);
    let count = (ONE_BY_ONE / harts::online()).max(2);
    for (place, &page) in order.iter().enumerate().take(count) {
        let addr = start + page * PAGE;
        touch(addr, page as u64)?;
        mapping
            .protect(page * PAGE, PAGE, READ)
            .map_err(error_text)?;
        expect(addr, true, false)?;
        mapping.protect(page * PAGE, PAGE, RW).map_err(error_text)?;
        expect(addr, true, true)?;
        // SAFETY: the page is mapped, as the probe above has found.
        let kept = unsafe { word_at(addr).read_volatile() };
        check(kept == page as u64, || {
            format!("{addr:#x} holds {kept:#x} after protect")
        })?;
        mapping.unmap(page * PAGE, PAGE).map_err(error_text)?;
        expect(addr, false, false)?;
        if let Some(&next) = order.get(place + 1) {
            expect(start + next * PAGE, true, true)?;
        }
    }
    Ok(())
}

fn lazy(mut rng: Rng) -> Result<(), String> {
    let mapping = Mapping::lazy(PAGES * PAGE, RW).map_err(error_text)?;
    let start = mapping.start();
    for _ in 0..PAGES / 2 {
        let addr = start + rng.usize(..PAGES) * PAGE + rng.usize(..PAGE / 8) * 8;
        touch(addr, rng.u64(..))?;
    }
    let untouched = |page: &usize| {
        kernel_aspace()
            .query((start + page * PAGE).into())
            .is_none()
    };
    let lazy = (0..PAGES).filter(untouched).count();
    check(lazy >= PAGES / 2, || {
        format!("{lazy} pages without a frame, not {} or more", PAGES / 2)
    })?;
    protect_and_unmap(mapping, rng)
}

fn populated(rng: Rng) -> Result<(), String> {
    let mapping = Mapping::populated(PAGES * PAGE, RW).map_err(error_text)?;
    for page in 0..PAGES {
        let addr = mapping.start() + page * PAGE;
        let is_mapped = kernel_aspace().query(addr.into()).is_some();
        check(is_mapped, || format!("{addr:#x} has no frame"))?;
        // SAFETY: the page is mapped, and only this hart uses the mapping.
        let bytes = unsafe { core::slice::from_raw_parts(addr as *const u8, PAGE) };
        check(bytes.iter().all(|&byte| byte == 0), || {
            format!("{addr:#x} is not zero")
        })?;
    }
    protect_and_unmap(mapping, rng)
}

fn linear(rng: Rng) -> Result<(), String> {
    let frames = alloc_frames_zeroed(PAGES, PAGE, UsageKind::Global).map_err(error_text)?;
    let frames = frames.into_shared();
    let mapping = Mapping::linear(frames.share().map_err(error_text)?, RW).map_err(error_text)?;
    let frame = |page: usize| usize::from(frames.start()) + page * PAGE;
    for page in 0..PAGES {
        let addr = mapping.start() + page * PAGE;
        let found = kernel_aspace().query(addr.into());
        let paddr = found.map(|found| found.paddr.as_usize() + addr - found.vaddr.as_usize());
        check(paddr == Some(frame(page)), || {
            format!("page {page} has frame {paddr:x?}, not {:#x}", frame(page))
        })?;
        touch(addr, page as u64 + 1)?;
    }
    let owners = frames.references();
    check(owners == 2, || format!("{owners} owners"))?;
    protect_and_unmap(mapping, rng)?;
    let frames = frames
        .try_unique()
        .map_err(|shared| format!("still shared: {shared:?}"))?;
    let written = |page: &usize| frames.as_bytes()[page * PAGE] != 0;
    let written = (0..PAGES).filter(written).count();
    check(written == PAGES, || {
        format!("{} frames were not written", PAGES - written)
    })
}

/// Maps the first page of each device. It must be uncached, and `read` must refuse to copy it.
fn devices() -> Outcome {
    let mut firsts = Vec::new();
    for_each_region(|region| {
        if region.flags.contains(MemRegionFlags::DEVICE) {
            firsts.push(region.paddr.as_usize());
        }
    });
    for &first in &firsts {
        let mapping = Mapping::device(first, PAGE).map_err(error_text)?;
        let start = mapping.start().into();
        let found = kernel_aspace()
            .query(start)
            .map(|page| page.paddr.as_usize());
        check(found == Some(first), || {
            format!("mapped to {found:x?}, not {first:#x}")
        })?;
        let flags = kernel_aspace().area_at(start).map(|area| area.flags());
        let wanted = RW | MappingFlags::DEVICE;
        check(flags == Some(wanted), || format!("{first:#x}: {flags:?}"))?;
        let read = kernel_aspace().read(start, &mut [0]);
        check(read == Err(AxError::BadAddress), || {
            format!("read of a device's register: {read:?}")
        })?;
    }
    Ok(format!("first page of {} devices", firsts.len()))
}

/// All harts write to every page of one lazy mapping at the same time. Each page must get one
/// frame, with the words of all harts.
fn used_by_all_harts() -> Outcome {
    let mapping = Mapping::lazy(PAGES * PAGE, RW).map_err(error_text)?;
    let before = usage().of(UsageKind::VirtMem);
    on_all(|hart| {
        (0..PAGES).try_for_each(|page| touch(mapping.start() + page * PAGE + hart * 8, hart as u64))
    })?;
    let taken = usage().of(UsageKind::VirtMem) - before;
    check(taken == PAGES, || {
        format!("{taken} frames for {PAGES} pages")
    })?;
    on_all(|hart| {
        for page in 0..PAGES {
            let next = (hart + 1) % harts::count();
            let expected = if harts::is_online(next) {
                next as u64
            } else {
                0
            };
            // SAFETY: the page is mapped, and all harts have finished their writes.
            let found =
                unsafe { word_at(mapping.start() + page * PAGE + next * 8).read_volatile() };
            check(found == expected, || {
                format!("page {page} lacks hart {next}'s word")
            })?;
        }
        Ok(())
    })?;
    Ok(format!(
        "{PAGES} pages touched by {} harts",
        harts::online()
    ))
}

/// One hart makes pages read-only, then unmaps them. The other harts have their translations in
/// the TLB, and must fault at once.
fn no_stale_tlb_entry() -> Outcome {
    const ROUNDS: usize = 8;
    for round in 0..ROUNDS {
        let mut mapping = Mapping::populated(PAGES * PAGE, RW).map_err(error_text)?;
        let start = mapping.start();
        let all_read = |from: usize, to: usize, read: bool| {
            on_all(|_| {
                let mut pages = (from..to).map(|page| start + page * PAGE);
                pages.try_for_each(|addr| {
                    check(can_read(addr) == read, || {
                        format!("{addr:#x}: readable should be {read}")
                    })
                })
            })
        };
        all_read(0, PAGES, true)?;
        mapping.protect(0, PAGES * PAGE, READ).map_err(error_text)?;
        on_all(|_| {
            (0..PAGES)
                .map(|page| start + page * PAGE)
                .try_for_each(|addr| {
                    // SAFETY: the page is read-only, so that the write faults. If it does not,
                    // the probe writes back what it read, and the test fails.
                    check(!unsafe { can_write(addr) }, || {
                        format!("{addr:#x} can still be written")
                    })
                })
        })?;
        mapping.unmap(0, (round + 1) * PAGE).map_err(error_text)?;
        all_read(0, round + 1, false)?;
        all_read(round + 1, PAGES, true)?;
        // The hole makes two areas, which one shootdown must flush.
        mapping
            .unmap((PAGES - 2) * PAGE, PAGE)
            .map_err(error_text)?;
        let before = tlb_counters().requests;
        drop(mapping);
        let requests = tlb_counters().requests - before;
        check(requests <= 1, || {
            format!("{requests} flush requests for 2 areas")
        })?;
        all_read(0, PAGES, false)?;
    }
    Ok(format!(
        "{ROUNDS} rounds of {PAGES} pages, {} harts",
        harts::online()
    ))
}

/// A mapping is dropped after its end was unmapped and given to another mapping, which must stay.
fn drop_after_reuse() -> Outcome {
    let mut first = Mapping::populated(4 * PAGE, RW).map_err(error_text)?;
    first.unmap(PAGE, 3 * PAGE).map_err(error_text)?;
    let second = Mapping::populated(2 * PAGE, RW).map_err(error_text)?;
    let reused = second.start() == first.start() + PAGE;
    check(reused, || {
        format!("{:#x} is free, and was not reused", first.start() + PAGE)
    })?;
    touch(second.start(), 7)?;
    let refused = first.protect(PAGE, PAGE, READ);
    check(refused == Err(AxError::NotFound), || {
        format!("protect of another mapping: {refused:?}")
    })?;
    drop(first);
    touch(second.start(), 8)?;
    Ok(String::from("3 of 4 pages unmapped and reused"))
}

/// A count of the requests that were refused, as they must be.
struct Refused(usize);

impl Refused {
    /// Checks that a request was refused with `error`, and counts it.
    fn expect(
        &mut self,
        request: &str,
        result: Result<(), AxError>,
        error: AxError,
    ) -> Result<(), String> {
        self.0 += 1;
        check(result == Err(error), || {
            format!("{request}: {result:?}, not {error:?}")
        })
    }
}

/// Invalid requests are refused with the documented error, and change nothing.
fn invalid_requests() -> Outcome {
    let mut refused = Refused(0);
    invalid_mappings(&mut refused)?;
    invalid_operations(&mut refused)?;
    Ok(format!("{} requests refused", refused.0))
}

/// Requests for a new mapping.
fn invalid_mappings(refused: &mut Refused) -> Result<(), String> {
    let mut expect = |request: &str, result, error| refused.expect(request, result, error);
    let lazy = |size, flags| Mapping::lazy(size, flags).map(drop);
    let invalid = AxError::InvalidInput;
    expect("no bytes", lazy(0, RW), invalid)?;
    expect("half a page", lazy(PAGE / 2, RW), invalid)?;
    expect(
        "write and execute",
        lazy(PAGE, RW | MappingFlags::EXECUTE),
        invalid,
    )?;
    expect(
        "write without read",
        lazy(PAGE, MappingFlags::WRITE),
        invalid,
    )?;
    expect(
        "for user programs",
        lazy(PAGE, RW | MappingFlags::USER),
        invalid,
    )?;
    expect(
        "more than all addresses",
        lazy(usize::MAX & !(PAGE - 1), RW),
        AxError::NoMemory,
    )?;
    let all = usage().total * PAGE;
    expect(
        "more than all frames",
        Mapping::populated(all, RW).map(drop),
        AxError::NoMemory,
    )?;
    let frame = alloc_frames_zeroed(1, PAGE, UsageKind::Global).map_err(error_text)?;
    let ram = usize::from(frame.start());
    for (request, paddr, size) in [
        ("RAM as a device", ram, PAGE),
        ("a device of 0 bytes", ram, 0),
        ("a device beyond the last address", ram, usize::MAX),
    ] {
        expect(request, Mapping::device(paddr, size).map(drop), invalid)?;
    }
    Ok(())
}

/// Operations on a mapping, on the kernel's image and on a mapping that the caller does not own.
fn invalid_operations(refused: &mut Refused) -> Result<(), String> {
    let mut expect = |request: &str, result, error| refused.expect(request, result, error);
    let invalid = AxError::InvalidInput;
    let mut mapping = Mapping::lazy(4 * PAGE, RW).map_err(error_text)?;
    let start = mapping.start();
    let aspace = kernel_aspace();
    let twice = aspace.map_alloc(start.into(), PAGE, RW, true);
    expect("map mapped pages", twice, AxError::AlreadyExists)?;
    let top = aspace.map_alloc((usize::MAX & !(PAGE - 1)).into(), 2 * PAGE, RW, false);
    expect("map beyond the last address", top, invalid)?;
    // SAFETY: the physical address is not a frame's, so that the request is refused. If it is
    // not, the test fails without an access to the mapping.
    let odd = unsafe { aspace.map_linear(start.into(), 0x10.into(), PAGE, RW) };
    expect("map an unaligned frame", odd, invalid)?;
    let text = axstd::memory::sections()[0].start.into();
    expect("unmap the kernel", aspace.unmap(text, PAGE), invalid)?;
    expect(
        "make the kernel's code writable",
        aspace.protect(text, PAGE, RW),
        invalid,
    )?;
    let mut bytes = [1; 8];
    for (what, addr) in [("the kernel", text), ("an owned mapping", start.into())] {
        let written = aspace.write(addr, &bytes);
        expect(&format!("copy to {what}"), written, AxError::BadAddress)?;
        let read = aspace.read(addr, &mut bytes);
        expect(&format!("copy from {what}"), read, AxError::BadAddress)?;
    }
    let unmapped = aspace.unmap(start.into(), PAGE);
    expect("unmap an owned mapping", unmapped, invalid)?;
    let protected = aspace.protect(start.into(), PAGE, MappingFlags::empty());
    expect("protect an owned mapping", protected, invalid)?;
    mapping.unmap(PAGE, PAGE).map_err(error_text)?;
    expect(
        "protect a hole",
        mapping.protect(0, 4 * PAGE, READ),
        AxError::NotFound,
    )?;
    touch(start, 1)
}

/// A range that `find_free_area` returns can be mapped, also if the search begins at an address
/// that is reserved for the kernel's own mappings.
fn free_range_search() -> Outcome {
    let aspace = kernel_aspace();
    let all = VirtAddrRange::new(aspace.base(), aspace.end());
    let text = axstd::memory::sections()[0].start.into();
    let hints = [aspace.base(), text, KERNEL_MAP_BASE.into()];
    for hint in hints {
        let found = aspace.find_free_area(hint, PAGES * PAGE, all);
        let start = found.ok_or_else(|| format!("no free range from {hint:#x} on"))?;
        let mapped = aspace.map_alloc(start, PAGES * PAGE, RW, false);
        check(mapped.is_ok(), || {
            format!("map at {start:#x}, found from {hint:#x} on: {mapped:?}")
        })?;
        touch(start.as_usize(), 1)?;
        aspace.unmap(start, PAGES * PAGE).map_err(error_text)?;
    }
    check(
        aspace.find_free_area(all.start, PAGE / 2, all).is_none(),
        || String::from("a range was found for half a page"),
    )?;
    Ok(format!("{} start addresses", hints.len()))
}

/// Prints the kernel's address space with a mapping of each kind. Some have other rights or a
/// hole in the middle.
fn listing() -> Outcome {
    const GIB: usize = 1 << 30;
    const MIB2: usize = 2 << 20;
    let lazy = Mapping::lazy(2 * GIB, RW).map_err(error_text)?;
    for page in [0, 1, 2, 3, 700, 701, 300_000] {
        touch(lazy.start() + page * PAGE, page as u64)?;
    }
    let mut populated = Mapping::populated(4 * PAGES * PAGE, RW).map_err(error_text)?;
    populated.protect(PAGE, PAGE, READ).map_err(error_text)?;
    populated
        .protect(64 * PAGE, 32 * PAGE, MappingFlags::empty())
        .map_err(error_text)?;
    populated.unmap(128 * PAGE, 64 * PAGE).map_err(error_text)?;
    let frames =
        alloc_frames_zeroed(2 * MIB2 / PAGE, MIB2, UsageKind::Global).map_err(error_text)?;
    let mut linear = Mapping::linear(frames.into_shared(), READ).map_err(error_text)?;
    linear.protect(MIB2, PAGE, RW).map_err(error_text)?;
    println!();
    print_maps();
    Ok(String::from("a lazy, a populated and a linear mapping"))
}
