//! Mappings in the kernel's address space: what they promise, and that they give
//! everything back.

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

use crate::mapped::{giving_all_back, say, word};
use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// Pages of a mapping.
const PAGES: usize = 64;

/// How many pages, of all harts' own mappings together, get and lose rights one
/// by one: each time every hart must forget the page.
const ONE_BY_ONE: usize = 32;

/// Runs the tests of this file.
pub fn run(report: &mut Report, seed: u64) {
    let own = |kind: fn(Rng) -> Result<(), String>| {
        giving_all_back(|| {
            on_all(|hart| kind(Rng::with_seed(seed ^ hart as u64)))?;
            Ok(format!(
                "{PAGES} pages on each of {} harts",
                harts::online()
            ))
        })
    };
    report.test("mappings: lazy", || own(lazy));
    report.test("mappings: populated", || own(populated));
    report.test("mappings: linear", || own(linear));
    report.test("mappings: a device's", || giving_all_back(devices));
    report.test("mappings: seen by every hart", || {
        giving_all_back(seen_by_every_hart)
    });
    report.test("mappings: stale on no hart", || {
        giving_all_back(stale_on_no_hart)
    });
    report.test("mappings: only one's own go", || {
        giving_all_back(only_its_own_go)
    });
    report.test("mappings: refused", || giving_all_back(refused));
    report.test("mappings: where one fits", || {
        giving_all_back(where_one_fits)
    });
    // `make maps` asks for it: at the end no mapping is left.
    if env::var("maps").is_some() {
        report.test("mappings: listed", || giving_all_back(listed));
    }
}

/// Writes to a page that is this hart's alone, and reads it back.
fn touch(addr: usize, value: u64) -> Result<(), String> {
    // SAFETY: the callers have mapped the page writable, and share no word.
    let found = unsafe {
        word(addr).write_volatile(value);
        word(addr).read_volatile()
    };
    check(found == value, || {
        format!("{addr:#x} holds {found:#x}, not {value:#x}")
    })
}

/// Checks what a probe of the page says.
fn expect(addr: usize, read: bool, write: bool) -> Result<(), String> {
    check(can_read(addr) == read, || {
        format!("{addr:#x}: readable should be {read}")
    })?;
    // SAFETY: the page is this hart's alone.
    let writable = unsafe { can_write(addr) };
    check(writable == write, || {
        format!("{addr:#x}: writable should be {write}")
    })
}

/// Protects, unprotects and unmaps some of a mapping's pages one after the
/// other, in a random order; all other pages stay as they were.
fn protect_and_unmap(mut mapping: Mapping, mut rng: Rng) -> Result<(), String> {
    let start = mapping.start();
    // Not the pages at the ends: with free addresses beside them they would be room
    // for a hart that maps its own only now.
    let mut order: Vec<usize> = (1..PAGES - 1).collect();
    rng.shuffle(&mut order);
    let count = (ONE_BY_ONE / harts::online()).max(2);
    for (place, &page) in order.iter().enumerate().take(count) {
        let addr = start + page * PAGE;
        touch(addr, page as u64)?;
        mapping.protect(page * PAGE, PAGE, READ).map_err(say)?;
        expect(addr, true, false)?;
        mapping.protect(page * PAGE, PAGE, RW).map_err(say)?;
        expect(addr, true, true)?;
        // SAFETY: the page is mapped.
        let kept = unsafe { word(addr).read_volatile() };
        check(kept == page as u64, || {
            format!("{addr:#x} holds {kept:#x} after protect")
        })?;
        mapping.unmap(page * PAGE, PAGE).map_err(say)?;
        expect(addr, false, false)?;
        if let Some(&next) = order.get(place + 1) {
            expect(start + next * PAGE, true, true)?;
        }
    }
    Ok(())
}

fn lazy(mut rng: Rng) -> Result<(), String> {
    let mapping = Mapping::lazy(PAGES * PAGE, RW).map_err(say)?;
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
        format!("only {lazy} untouched pages have no frame")
    })?;
    protect_and_unmap(mapping, rng)
}

fn populated(rng: Rng) -> Result<(), String> {
    let mapping = Mapping::populated(PAGES * PAGE, RW).map_err(say)?;
    for page in 0..PAGES {
        let addr = mapping.start() + page * PAGE;
        let there = kernel_aspace().query(addr.into()).is_some();
        check(there, || format!("{addr:#x} has no frame"))?;
        // SAFETY: the page is mapped and this hart's alone.
        let bytes = unsafe { core::slice::from_raw_parts(addr as *const u8, PAGE) };
        check(bytes.iter().all(|&byte| byte == 0), || {
            format!("{addr:#x} is not zero")
        })?;
    }
    protect_and_unmap(mapping, rng)
}

fn linear(rng: Rng) -> Result<(), String> {
    let frames = alloc_frames_zeroed(PAGES, PAGE, UsageKind::Global).map_err(say)?;
    let frames = frames.into_shared();
    let mapping = Mapping::linear(frames.share().map_err(say)?, RW).map_err(say)?;
    let frame = |page: usize| usize::from(frames.start()) + page * PAGE;
    for page in 0..PAGES {
        let addr = mapping.start() + page * PAGE;
        let there = kernel_aspace().query(addr.into());
        let paddr = there.map(|found| found.paddr.as_usize() + addr - found.vaddr.as_usize());
        check(paddr == Some(frame(page)), || {
            format!("page {page} is {paddr:x?}, not {:#x}", frame(page))
        })?;
        touch(addr, page as u64 + 1)?;
    }
    let owners = frames.references();
    check(owners == 2, || format!("{owners} owners"))?;
    protect_and_unmap(mapping, rng)?;
    let frames = frames.try_unique().map_err(|left| format!("{left:?}"))?;
    let written = |page: &usize| frames.as_bytes()[page * PAGE] != 0;
    let written = (0..PAGES).filter(written).count();
    check(written == PAGES, || {
        format!("{} frames were not written", PAGES - written)
    })
}

/// The first page of each device, which is uncached, and not copied.
fn devices() -> Outcome {
    let mut firsts = Vec::new();
    for_each_region(|region| {
        if region.flags.contains(MemRegionFlags::DEVICE) {
            firsts.push(region.paddr.as_usize());
        }
    });
    for &first in &firsts {
        let mapping = Mapping::device(first, PAGE).map_err(say)?;
        let start = mapping.start().into();
        let found = kernel_aspace()
            .query(start)
            .map(|page| page.paddr.as_usize());
        check(found == Some(first), || {
            format!("{found:x?} is mapped, not {first:#x}")
        })?;
        let flags = kernel_aspace().area_at(start).map(|area| area.flags());
        let wanted = RW | MappingFlags::DEVICE;
        check(flags == Some(wanted), || format!("{first:#x}: {flags:?}"))?;
        let read = kernel_aspace().read(start, &mut [0]);
        check(read == Err(AxError::BadAddress), || {
            format!("a register is copied: {read:?}")
        })?;
    }
    Ok(format!("{} devices", firsts.len()))
}

/// All harts touch every page of one lazy mapping at the same time: each page
/// gets one frame, and no hart's words are lost.
fn seen_by_every_hart() -> Outcome {
    let mapping = Mapping::lazy(PAGES * PAGE, RW).map_err(say)?;
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
            // SAFETY: the page is mapped, and nobody writes to it any more.
            let found = unsafe { word(mapping.start() + page * PAGE + next * 8).read_volatile() };
            check(found == expected, || {
                format!("page {page} has lost hart {next}'s word")
            })?;
        }
        Ok(())
    })?;
    Ok(format!(
        "{PAGES} pages by {} harts at once",
        harts::online()
    ))
}

/// One hart takes rights away, and pages; every other hart has just used them
/// and notices.
fn stale_on_no_hart() -> Outcome {
    const ROUNDS: usize = 8;
    for round in 0..ROUNDS {
        let mut mapping = Mapping::populated(PAGES * PAGE, RW).map_err(say)?;
        let start = mapping.start();
        let all_read = |from: usize, to: usize, read: bool| {
            on_all(|_| {
                let mut pages = (from..to).map(|page| start + page * PAGE);
                pages.try_for_each(|addr| {
                    check(can_read(addr) == read, || {
                        format!("{addr:#x}: readable is not {read}")
                    })
                })
            })
        };
        all_read(0, PAGES, true)?;
        mapping.protect(0, PAGES * PAGE, READ).map_err(say)?;
        on_all(|_| {
            (0..PAGES)
                .map(|page| start + page * PAGE)
                .try_for_each(|addr| {
                    // SAFETY: it faults, or the test fails.
                    check(!unsafe { can_write(addr) }, || {
                        format!("{addr:#x} can still be written")
                    })
                })
        })?;
        mapping.unmap(0, (round + 1) * PAGE).map_err(say)?;
        all_read(0, round + 1, false)?;
        all_read(round + 1, PAGES, true)?;
        // In pieces, which go at once.
        mapping.unmap((PAGES - 2) * PAGE, PAGE).map_err(say)?;
        let before = tlb_counters().requests;
        drop(mapping);
        let asked = tlb_counters().requests - before;
        check(asked <= 1, || {
            format!("{asked} requests to forget 2 pieces")
        })?;
        all_read(0, PAGES, false)?;
    }
    Ok(format!(
        "{ROUNDS} rounds of {PAGES} pages, {} harts",
        harts::online()
    ))
}

/// A mapping whose end has been unmapped goes: what has been mapped there since,
/// by somebody else, stays.
fn only_its_own_go() -> Outcome {
    let mut first = Mapping::populated(4 * PAGE, RW).map_err(say)?;
    first.unmap(PAGE, 3 * PAGE).map_err(say)?;
    let second = Mapping::populated(2 * PAGE, RW).map_err(say)?;
    let reused = second.start() == first.start() + PAGE;
    check(reused, || {
        format!("{:#x} was free and is not used", first.start() + PAGE)
    })?;
    touch(second.start(), 7)?;
    let refused = first.protect(PAGE, PAGE, READ);
    check(refused == Err(AxError::NotFound), || {
        format!("protect of another's: {refused:?}")
    })?;
    drop(first);
    touch(second.start(), 8)?;
    Ok(String::from("an address used again by another mapping"))
}

/// What cannot be is refused, with the right error, and changes nothing.
fn refused() -> Outcome {
    let expect = |what: &str, result: Result<(), AxError>, error: AxError| {
        check(result == Err(error), || {
            format!("{what}: {result:?}, not {error:?}")
        })
    };
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
        "more than there is",
        lazy(usize::MAX & !(PAGE - 1), RW),
        AxError::NoMemory,
    )?;
    let all = usage().total * PAGE;
    expect(
        "more than all frames",
        Mapping::populated(all, RW).map(drop),
        AxError::NoMemory,
    )?;

    let mut mapping = Mapping::lazy(4 * PAGE, RW).map_err(say)?;
    let start = mapping.start();
    let aspace = kernel_aspace();
    let twice = aspace.map_alloc(start.into(), PAGE, RW, true);
    expect("twice", twice, AxError::AlreadyExists)?;
    let top = aspace.map_alloc((usize::MAX & !(PAGE - 1)).into(), 2 * PAGE, RW, false);
    expect("beyond the end", top, invalid)?;
    // SAFETY: it is refused, or the test fails.
    let odd = unsafe { aspace.map_linear(start.into(), 0x10.into(), PAGE, RW) };
    expect("half a frame", odd, invalid)?;
    let text = axstd::memory::sections()[0].start.into();
    expect("unmap the kernel", aspace.unmap(text, PAGE), invalid)?;
    expect(
        "write to the kernel",
        aspace.protect(text, PAGE, RW),
        invalid,
    )?;
    let mut bytes = [1; 8];
    for (what, addr) in [("the kernel's", text), ("a mapping's", start.into())] {
        let written = aspace.write(addr, &bytes);
        expect(&format!("write {what} bytes"), written, AxError::BadAddress)?;
        let read = aspace.read(addr, &mut bytes);
        expect(&format!("read {what} bytes"), read, AxError::BadAddress)?;
    }
    expect("unmap another's", aspace.unmap(start.into(), PAGE), invalid)?;
    let given = aspace.protect(start.into(), PAGE, MappingFlags::empty());
    expect("protect another's", given, invalid)?;
    let frame = alloc_frames_zeroed(1, PAGE, UsageKind::Global).map_err(say)?;
    let ram = usize::from(frame.start());
    for (what, paddr, size) in [
        ("memory as a device", ram, PAGE),
        ("no device", ram, 0),
        ("a device without an end", ram, usize::MAX),
    ] {
        expect(what, Mapping::device(paddr, size).map(drop), invalid)?;
    }
    mapping.unmap(PAGE, PAGE).map_err(say)?;
    expect(
        "protect a hole",
        mapping.protect(0, 4 * PAGE, READ),
        AxError::NotFound,
    )?;
    touch(start, 1)?;
    Ok(String::from("23 requests that cannot be"))
}

/// What `find_free_area` finds can be mapped, also if the search begins in what is fixed
/// for the kernel itself.
fn where_one_fits() -> Outcome {
    let aspace = kernel_aspace();
    let all = VirtAddrRange::new(aspace.base(), aspace.end());
    let text = axstd::memory::sections()[0].start.into();
    let hints = [aspace.base(), text, KERNEL_MAP_BASE.into()];
    for hint in hints {
        let found = aspace.find_free_area(hint, PAGES * PAGE, all);
        let start = found.ok_or_else(|| format!("nothing is free from {hint:#x} on"))?;
        let mapped = aspace.map_alloc(start, PAGES * PAGE, RW, false);
        check(mapped.is_ok(), || {
            format!("{start:#x}, found from {hint:#x} on: {mapped:?}")
        })?;
        touch(start.as_usize(), 1)?;
        aspace.unmap(start, PAGES * PAGE).map_err(say)?;
    }
    check(
        aspace.find_free_area(all.start, PAGE / 2, all).is_none(),
        || String::from("half a page cannot be mapped, and was found"),
    )?;
    Ok(format!("from {} addresses on", hints.len()))
}

/// Mappings of each kind, some of them with other rights in the middle and with
/// holes, on the console.
fn listed() -> Outcome {
    const GIB: usize = 1 << 30;
    const MIB2: usize = 2 << 20;
    let lazy = Mapping::lazy(2 * GIB, RW).map_err(say)?;
    for page in [0, 1, 2, 3, 700, 701, 300_000] {
        touch(lazy.start() + page * PAGE, page as u64)?;
    }
    let mut populated = Mapping::populated(4 * PAGES * PAGE, RW).map_err(say)?;
    populated.protect(PAGE, PAGE, READ).map_err(say)?;
    populated
        .protect(64 * PAGE, 32 * PAGE, MappingFlags::empty())
        .map_err(say)?;
    populated.unmap(128 * PAGE, 64 * PAGE).map_err(say)?;
    let frames = alloc_frames_zeroed(2 * MIB2 / PAGE, MIB2, UsageKind::Global).map_err(say)?;
    let mut linear = Mapping::linear(frames.into_shared(), READ).map_err(say)?;
    linear.protect(MIB2, PAGE, RW).map_err(say)?;
    println!();
    print_maps();
    Ok(String::from("a lazy, a populated and a linear mapping"))
}
