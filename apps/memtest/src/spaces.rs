//! Address spaces of user programs: harts enter and leave them. Each has its own pages at the same
//! addresses, and the kernel's mappings in its upper half.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use axstd::harts;
use axstd::memory::probe::{can_execute, can_read, can_write};
use axstd::memory::{
    AddrSpace, AxError, Grain, KERNEL_MAP_BASE, Mapping, MappingFlags, SharedAspace, USER_BASE,
    kernel_aspace, new_user_aspace, tlb,
};
use axstd::os::arceos::modules::axhal::probe::copy;

use crate::mapped_memory::{without_leak, word_at};
use crate::report::{Outcome, Report, check, error_text, on_all};

const PAGE: usize = 4096;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);
const RX: MappingFlags = READ.union(MappingFlags::EXECUTE);

/// The first address of a test's address space, and its size in bytes.
const BASE: usize = USER_BASE + LARGE;
const SIZE: usize = 1 << 30;

/// The size of a large page in bytes.
const LARGE: usize = 2 << 20;

/// A word that a test copies.
static TO_COPY: u64 = 7;

/// The number of pages that a test maps in each address space.
const PAGES: usize = 8;

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    // The first user address space makes the kernel allocate the tables that all of them share.
    // These stay allocated, and must not count as a leak.
    let _ = new_user_aspace(BASE.into(), SIZE);
    report.test("spaces: private pages", || without_leak(private_pages));
    report.test("spaces: nested entry", || without_leak(nested_entry));
    report.test("spaces: kernel half shared", || {
        without_leak(kernel_half_shared)
    });
    report.test("spaces: no stale TLB entry", || {
        without_leak(no_stale_tlb_entry)
    });
    report.test("spaces: unmap during exit", || {
        without_leak(unmap_during_exit)
    });
    report.test("spaces: shootdown targets", || {
        without_leak(shootdown_targets)
    });
    report.test("spaces: ASID reuse", || without_leak(asid_reuse));
    report.test("spaces: every kind of fault", || {
        without_leak(every_kind_of_fault)
    });
    report.test("spaces: copy in and out", || without_leak(copy_in_and_out));
    report.test("spaces: misuse is refused", || {
        without_leak(misuse_is_refused)
    });
    report.test("spaces: eager copies", || without_leak(eager_copies));
    report.test("spaces: copy outside RAM", || {
        without_leak(copy_outside_ram)
    });
}

fn space() -> Result<AddrSpace, String> {
    new_user_aspace(BASE.into(), SIZE).map_err(error_text)
}

/// Returns an address space with [`PAGES`] lazy, writable pages from [`BASE`] on.
fn space_with_pages() -> Result<SharedAspace, String> {
    let space = space()?;
    space
        .map_alloc(BASE.into(), PAGES * PAGE, RW, false)
        .map_err(error_text)?;
    Ok(SharedAspace::new(space))
}

/// Writes to this hart's word in each page. The hart must be in an address space of
/// [`space_with_pages`].
fn write_words(hart: usize, value: u64) {
    for page in 0..PAGES {
        // SAFETY: the page is mapped in the address space that this hart is in, and no other
        // hart uses the word.
        unsafe { word_at(BASE + page * PAGE + hart * 8).write_volatile(value + page as u64) };
    }
}

/// Checks the words that [`write_words`] has written.
fn check_words(hart: usize, value: u64) -> Result<(), String> {
    (0..PAGES).try_for_each(|page| {
        let addr = BASE + page * PAGE + hart * 8;
        // SAFETY: the page is mapped in the address space that this hart is in, and no other
        // hart uses the word.
        let found = unsafe { word_at(addr).read_volatile() };
        let wanted = value + page as u64;
        check(found == wanted, || {
            format!("{addr:#x} holds {found:#x}, not {wanted:#x}")
        })
    })
}

/// All harts enter several address spaces in turn. Each space has other words at the same
/// addresses.
fn private_pages() -> Outcome {
    const SPACES: usize = 4;
    const ROUNDS: u64 = 8;
    let spaces = (0..SPACES)
        .map(|_| space_with_pages())
        .collect::<Result<Vec<_>, _>>()?;
    on_all(|hart| {
        for round in 0..ROUNDS {
            for (space, value) in spaces.iter().zip((0..).step_by(1000)) {
                let value = value + 100 * (round + 1);
                let before = if round == 0 { None } else { Some(value - 100) };
                space
                    .run(|| {
                        before.map_or(Ok(()), |before| check_words(hart, before))?;
                        write_words(hart, value);
                        check_words(hart, value)
                    })
                    .map_err(error_text)??;
            }
        }
        Ok(())
    })?;
    // All harts have left by now. This matters on `host`, where all harts share one lower half.
    on_all(|_| check(!can_read(BASE), || format!("{BASE:#x} can be read outside")))?;
    Ok(format!(
        "{SPACES} address spaces, {ROUNDS} rounds, {} harts",
        harts::online()
    ))
}

/// Harts write to an address space and to its copy, which first holds what the original did.
fn eager_copies() -> Outcome {
    const BEFORE: u64 = 5000;
    let original = space_with_pages()?;
    on_all(|hart| {
        let write = || write_words(hart, BEFORE);
        original.run(write).map_err(error_text)
    })?;
    let copy = SharedAspace::new(original.clone_eager().map_err(error_text)?);
    let sides = [(&original, BEFORE + 1000), (&copy, BEFORE + 2000)];
    on_all(|hart| {
        // Odd harts begin with the copy.
        for side in [hart % 2, 1 - hart % 2] {
            let (space, value) = sides[side];
            let change = || -> Result<(), String> {
                check_words(hart, BEFORE)?;
                write_words(hart, value);
                Ok(())
            };
            space.run(change).map_err(error_text)??;
        }
        sides.iter().try_for_each(|(space, value)| {
            space
                .run(|| check_words(hart, *value))
                .map_err(error_text)?
        })
    })?;
    Ok(format!("{PAGES} pages, {} harts", harts::online()))
}

/// Each hart enters an outer address space, and within it an inner one, from which it maps a page
/// in the outer. The outer space of even harts is the inner one of odd harts.
fn nested_entry() -> Outcome {
    const ROUNDS: u64 = 16;
    let spaces = [space_with_pages()?, space_with_pages()?];
    on_all(|hart| {
        let (outer, inner) = (&spaces[hart % 2], &spaces[1 - hart % 2]);
        for round in 0..ROUNDS {
            outer
                .run(|| {
                    write_words(hart, 2 * round);
                    inner
                        .run(|| map_from_inside(inner, outer, hart))
                        .map_err(error_text)??;
                    check_words(hart, 2 * round)?;
                    let at = own_page(hart);
                    check(can_read(at), || format!("{at:#x} cannot be read"))?;
                    outer.unmap(at.into(), PAGE).map_err(error_text)
                })
                .map_err(error_text)??;
        }
        Ok(())
    })?;
    Ok(format!("{ROUNDS} rounds, {} harts", harts::online()))
}

/// Maps this hart's own page in `other` while the hart is in `current`, where the page must stay
/// unmapped.
fn map_from_inside(
    current: &SharedAspace,
    other: &SharedAspace,
    hart: usize,
) -> Result<(), String> {
    let at = own_page(hart);
    other
        .map_alloc(at.into(), PAGE, RW, true)
        .map_err(error_text)?;
    check(current.query(at.into()).is_none() && !can_read(at), || {
        format!("{at:#x} is mapped in the other space only, and can be read here")
    })
}

/// Returns the address of the page that only this hart maps and unmaps.
fn own_page(hart: usize) -> usize {
    BASE + (PAGES + 4 * hart + 4) * PAGE
}

/// A kernel mapping that is made after a user address space was created, or within it, appears
/// there. It disappears when it is dropped.
fn kernel_half_shared() -> Outcome {
    let spaces = [space_with_pages()?, space_with_pages()?];
    for space in &spaces {
        on_all(|hart| {
            space
                .run(|| {
                    let lazy = Mapping::lazy(PAGE, RW).map_err(error_text)?;
                    let start = lazy.start();
                    // SAFETY: the mapping is writable, and only this hart uses it.
                    unsafe { word_at(start).write_volatile(hart as u64) };
                    drop(lazy);
                    check(!can_read(start) || harts::online() > 1, || {
                        format!("{start:#x} can be read after it was unmapped")
                    })
                })
                .map_err(error_text)?
        })?;
    }
    let mapping = Mapping::populated(PAGES * PAGE, RW).map_err(error_text)?;
    let start = mapping.start();
    on_all(|_| {
        spaces.iter().try_for_each(|space| {
            let seen = space.run(|| can_read(start)).map_err(error_text)?;
            check(seen, || {
                format!("{start:#x} is missing in a user's address space")
            })
        })
    })?;
    drop(mapping);
    on_all(|_| {
        spaces.iter().try_for_each(|space| {
            let seen = space.run(|| can_read(start)).map_err(error_text)?;
            check(!seen, || {
                format!("{start:#x} is still mapped in a user's address space")
            })
        })
    })?;
    Ok(format!("2 address spaces, {} harts", harts::online()))
}

/// Pages are unmapped, or made read-only, after all harts have left the address space. Then every
/// hart maps and unmaps pages while all harts are inside.
fn no_stale_tlb_entry() -> Outcome {
    const ROUNDS: usize = 4;
    let (one, other) = (space_with_pages()?, space_with_pages()?);
    for round in 0..ROUNDS {
        on_all(|hart| {
            one.run(|| write_words(hart, 7)).map_err(error_text)?;
            other.run(|| write_words(hart, 9)).map_err(error_text)
        })?;
        let at = BASE + round * PAGE;
        // All harts have left, but their TLBs may still hold both pages.
        one.unmap(at.into(), PAGE).map_err(error_text)?;
        one.protect((at + PAGE).into(), PAGE, READ)
            .map_err(error_text)?;
        on_all(|hart| {
            let found = one
                .run(|| {
                    // SAFETY: the page is read-only, so that the write faults. If it does not,
                    // the probe writes back what it read, and the test fails.
                    (can_read(at), can_read(at + PAGE), unsafe {
                        can_write(at + PAGE)
                    })
                })
                .map_err(error_text)?;
            check(found == (false, true, false), || {
                format!("(unmapped page read, read-only page read, written) is {found:?}")
            })?;
            other.run(|| check_words(hart, 9)).map_err(error_text)?
        })?;
        let mapped = one.map_alloc(at.into(), PAGE, RW, false);
        mapped.map_err(error_text)?;
        one.protect((at + PAGE).into(), PAGE, RW)
            .map_err(error_text)?;
        on_all(|hart| {
            one.run(|| map_and_unmap_inside(&one, hart))
                .map_err(error_text)?
        })?;
    }
    Ok(format!("{ROUNDS} rounds, {} harts", harts::online()))
}

/// Maps and unmaps this hart's own page several times, while all harts are inside the space.
fn map_and_unmap_inside(space: &SharedAspace, hart: usize) -> Result<(), String> {
    let at = own_page(hart);
    for value in 1..=4 {
        space
            .map_alloc(at.into(), PAGE, RW, value % 2 == 0)
            .map_err(error_text)?;
        // SAFETY: the page is mapped writable, and only this hart uses it.
        let fresh = unsafe { word_at(at).replace(value) };
        check(fresh == 0, || format!("{at:#x} holds {fresh:#x}, not zero"))?;
        space.unmap(at.into(), PAGE).map_err(error_text)?;
        check(!can_read(at), || {
            format!("{at:#x} can be read after it was unmapped")
        })?;
    }
    Ok(())
}

/// After all harts have left, an unmap sends no flush request. While all harts are inside, it
/// sends one, and interrupts each other hart at most once.
fn shootdown_targets() -> Outcome {
    let space = space_with_pages()?;
    on_all(|hart| space.run(|| write_words(hart, 7)).map_err(error_text))?;
    let before = tlb::counters();
    space.unmap(BASE.into(), PAGE).map_err(error_text)?;
    check(tlb::counters() == before, || {
        format!("{before:?} before, {:?} after", tlb::counters())
    })?;
    // Hart 0 waits until all harts are inside, and the others until it has unmapped the page.
    let (inside, is_unmapped) = (AtomicUsize::new(0), AtomicBool::new(false));
    on_all(|hart| {
        let result = space.run(|| {
            inside.fetch_add(1, Ordering::AcqRel);
            let all = || inside.load(Ordering::Acquire) == harts::online();
            while !(is_unmapped.load(Ordering::Acquire) || (hart == 0 && all())) {
                core::hint::spin_loop();
            }
            if hart != 0 {
                return Ok(());
            }
            let unmapped = space.unmap((BASE + PAGE).into(), PAGE);
            is_unmapped.store(true, Ordering::Release);
            unmapped.map_err(error_text)
        });
        result.map_err(error_text)?
    })?;
    let after = tlb::counters();
    let (requests, interrupts) = (
        after.requests - before.requests,
        after.interrupts - before.interrupts,
    );
    let others = harts::online() as u64 - 1;
    check(requests == others.min(1) && interrupts <= others, || {
        format!("{requests} requests, {interrupts} interrupts for {others} other harts")
    })?;
    Ok(format!(
        "{interrupts} interrupts to {others} other harts inside"
    ))
}

/// Hart 0 unmaps a page while hart 1 leaves the address space. When hart 1 enters again, it must
/// not see the page.
fn unmap_during_exit() -> Outcome {
    const ROUNDS: usize = 64;
    if harts::online() < 2 {
        return Ok(String::from("1 hart"));
    }
    let space = space_with_pages()?;
    for round in 0..ROUNDS {
        let (inside, is_unmapped) = (AtomicBool::new(false), AtomicBool::new(false));
        let wait_for = |flag: &AtomicBool| {
            while !flag.load(Ordering::Acquire) {
                core::hint::spin_loop();
            }
        };
        on_all(|hart| match hart {
            0 => {
                wait_for(&inside);
                // Hart 1 leaves meanwhile. The delay differs from round to round, so that the
                // unmap comes at another point of its exit.
                for _ in 0..round * 100 {
                    core::hint::spin_loop();
                }
                let unmapped = space.unmap(BASE.into(), PAGE).map_err(error_text);
                is_unmapped.store(true, Ordering::Release);
                unmapped
            }
            1 => {
                space
                    .run(|| {
                        write_words(hart, 7);
                        inside.store(true, Ordering::Release);
                    })
                    .map_err(error_text)?;
                wait_for(&is_unmapped);
                let stale = space.run(|| can_read(BASE)).map_err(error_text)?;
                check(!stale, || {
                    format!("round {round}: {BASE:#x} can be read after it was unmapped")
                })
            }
            _ => Ok(()),
        })?;
        space
            .map_alloc(BASE.into(), PAGE, RW, false)
            .map_err(error_text)?;
    }
    Ok(format!("{ROUNDS} rounds"))
}

/// Enters more address spaces than some machines have ASIDs, so that ASIDs are used again. A
/// new address space must not see the pages of an earlier one.
fn asid_reuse() -> Outcome {
    const SPACES: u64 = 1200;
    let stays = space_with_pages()?;
    stays.run(|| write_words(0, 5)).map_err(error_text)?;
    for value in 0..SPACES {
        let next = space_with_pages()?;
        let fresh = next
            .run(|| {
                // SAFETY: the page is mapped in `next`, which only this hart uses.
                let fresh = unsafe { word_at(BASE).read_volatile() };
                write_words(0, value);
                fresh
            })
            .map_err(error_text)?;
        check(fresh == 0, || format!("space {value} sees {fresh:#x}"))?;
        if value % 100 == 0 {
            stays.run(|| check_words(0, 5)).map_err(error_text)??;
        }
    }
    stays.run(|| check_words(0, 5)).map_err(error_text)??;
    Ok(format!("{SPACES} address spaces in sequence"))
}

/// Copies from the kernel's address space into a buffer in the same address space, whose pages
/// are lazy. The copy must fault them in although it holds locks of this address space.
fn copy_into_lazy_buffer() -> Result<(), String> {
    const FROM: usize = KERNEL_MAP_BASE;
    let kernel = kernel_aspace();
    let mapped = kernel.map_alloc(FROM.into(), 2 * PAGE, RW, false);
    mapped.map_err(error_text)?;
    let to = Mapping::lazy(2 * PAGE, RW).map_err(error_text)?;
    // SAFETY: both ranges are mapped and belong to this test. Lazy pages read as zeroes, which
    // are valid bytes.
    let buffer = unsafe {
        word_at(FROM + PAGE).write_volatile(6);
        slice::from_raw_parts_mut(word_at(to.start()).cast::<u8>(), 2 * PAGE)
    };
    kernel.read(FROM.into(), buffer).map_err(error_text)?;
    kernel.unmap(FROM.into(), 2 * PAGE).map_err(error_text)?;
    check(buffer[PAGE] == 6, || {
        format!("a lazy buffer holds {}, not 6", buffer[PAGE])
    })
}

/// Faults that map several pages are not handled at once. They may wait for other harts, which may
/// wait for what a copy holds. So a copy ends at such a fault.
fn copy_does_not_wait_in_a_fault() -> Result<(), String> {
    const TO: usize = KERNEL_MAP_BASE;
    let kernel = kernel_aspace();
    let mapped = kernel.map_alloc_with(TO.into(), PAGE, RW, false, Grain::Around(4));
    mapped.map_err(error_text)?;
    // SAFETY: the page belongs to this test, and `copy` may fault.
    let copied = || unsafe { copy((&raw const TO_COPY).cast(), word_at(TO).cast(), 8) };
    let before = copied();
    // SAFETY: the page is mapped and belongs to this test.
    unsafe { word_at(TO).write_volatile(0) };
    let after = copied();
    kernel.unmap(TO.into(), PAGE).map_err(error_text)?;
    check((before, after) == (0, 8), || {
        format!("{before} and {after} bytes were copied, not 0 and 8")
    })
}

/// Sharing mappings that are not the kernel's is refused. So is entering an address space that
/// has another kernel's mappings, or lies in the kernel's half.
fn misuse_is_refused() -> Outcome {
    let refused = |request: &str, result: Result<(), AxError>| {
        check(result == Err(AxError::InvalidInput), || {
            format!("{request}: {result:?}")
        })
    };
    let enter = |space: AddrSpace| SharedAspace::new(space).run(|| ());
    let user = || AddrSpace::new_empty_user(BASE.into(), SIZE).map_err(error_text);

    let other = space_with_pages()?;
    let mut borrower = user()?;
    refused(
        "copy a user's mappings",
        borrower.copy_mappings_from(&other),
    )?;
    refused("share a user's tables", other.share())?;
    let with = AddrSpace::new_user_with(BASE.into(), SIZE, &other).map(drop);
    refused("create with a user's mappings", with)?;

    let kernel = AddrSpace::new_empty(KERNEL_MAP_BASE.into(), SIZE).map_err(error_text)?;
    borrower.copy_mappings_from(&kernel).map_err(error_text)?;
    refused("enter with another kernel's mappings", enter(borrower))?;
    refused("enter a kernel's address space", enter(kernel))?;
    let upper = AddrSpace::new_empty_user(KERNEL_MAP_BASE.into(), SIZE).map_err(error_text)?;
    refused("enter an address space in the kernel's half", enter(upper))?;
    enter(space()?).map_err(error_text)?;
    Ok(String::from("3 ways to share, 3 ways to enter"))
}

/// Copies into pages whose TLB entry may be stale. LoongArch's TLB holds pages in pairs: use of
/// the even page loads the odd one as absent, before it is mapped. Other pages are loaded as
/// read-only, before they become writable.
fn copy_into_stale_pages() -> Result<(), String> {
    const FROM: usize = KERNEL_MAP_BASE;
    const EVEN: usize = FROM + 2 * PAGE;
    const ODD: usize = EVEN + PAGE;
    let kernel = kernel_aspace();
    for page in [FROM, EVEN] {
        let mapped = kernel.map_alloc(page.into(), PAGE, RW, false);
        mapped.map_err(error_text)?;
        // SAFETY: the page is mapped writable, and belongs to this test.
        unsafe { word_at(page).write_volatile(6) };
    }
    let mapped = kernel.map_alloc(ODD.into(), PAGE, RW, true);
    mapped.map_err(error_text)?;
    copy_page(FROM, ODD)?;

    let mut mapping = Mapping::populated(harts::count() * PAGE, RW).map_err(error_text)?;
    let (start, size) = (mapping.start(), mapping.size());
    let page = |hart: usize| start + hart * PAGE;
    mapping.protect(0, size, READ).map_err(error_text)?;
    on_all(|hart| {
        check(can_read(page(hart)), || {
            format!("{:#x} cannot be read", page(hart))
        })
    })?;
    mapping.protect(0, size, RW).map_err(error_text)?;
    on_all(|hart| copy_page(FROM, page(hart)))?;
    kernel.unmap(FROM.into(), 4 * PAGE).map_err(error_text)
}

/// Copies the page at `from`, whose first word is 6, to `to`.
fn copy_page(from: usize, to: usize) -> Result<(), String> {
    // SAFETY: the callers have mapped the page writable, and only this hart uses it.
    let buffer = unsafe { slice::from_raw_parts_mut(word_at(to).cast::<u8>(), PAGE) };
    kernel_aspace()
        .read(from.into(), buffer)
        .map_err(error_text)?;
    check(buffer[0] == 6, || {
        format!("{to:#x} holds {}, not 6", buffer[0])
    })
}

/// A copy to or from a page is an error where a linear area leads to a physical address that
/// is not RAM, or that the kernel's linear mapping leaves out.
fn copy_outside_ram() -> Outcome {
    // The last page that fits in the linear mapping, the first beyond it, and the first physical
    // address whose address in the linear mapping overflows.
    let mut outside = Vec::from([MAX_PHYS - PAGE, MAX_PHYS, PHYS_VIRT_OFFSET.wrapping_neg()]);
    // On riscv64 the first page of RAM belongs to the firmware.
    if cfg!(target_arch = "riscv64") {
        outside.push(0x8000_0000);
    }
    let space = space()?;
    let mut tried = 0;
    for paddr in outside {
        // SAFETY: the mapping is used for the copies below only, which refuse it. The kernel's
        // memory, which Rust knows of, is not at these physical addresses.
        match unsafe { space.map_linear(BASE.into(), paddr.into(), PAGE, RW) } {
            // This machine's physical addresses are shorter.
            Err(AxError::InvalidInput) => continue,
            mapped => mapped.map_err(error_text)?,
        }
        let mut buffer = [7; 100];
        let copies = [
            space.read(BASE.into(), &mut buffer),
            space.write((BASE + 8).into(), &buffer),
            space.read_cstr(BASE.into(), &mut buffer).map(drop),
        ];
        let refused = copies.iter().all(|copy| *copy == Err(AxError::BadAddress));
        check(refused, || {
            format!("(read, write, read_cstr) at {paddr:#x}: {copies:?}")
        })?;
        space.unmap(BASE.into(), PAGE).map_err(error_text)?;
        tried += copies.len();
    }
    Ok(format!("{tried} copies refused"))
}

/// Whether a page can be read, written, executed.
type Can = (bool, bool, bool);

/// The kinds of page: name, rights if it is mapped, and the accesses that must work.
const KINDS: [(&str, Option<MappingFlags>, Can); 6] = [
    ("unmapped", None, (false, false, false)),
    (
        "inaccessible",
        Some(MappingFlags::empty()),
        (false, false, false),
    ),
    ("read-only", Some(READ), (true, false, false)),
    ("writable", Some(RW), (true, true, false)),
    ("executable", Some(RX), (true, false, true)),
    (
        "writable, executable",
        Some(RW.union(RX)),
        (true, true, true),
    ),
];

/// A function that only returns. Executing a copy of it tells whether a page is executable.
extern "C" fn empty() {}

/// Returns the first bytes of `empty`, which include its return instruction.
fn code() -> [u8; 16] {
    // SAFETY: the image's code is readable, and more code follows `empty` in the image, so that
    // 16 bytes can be read.
    unsafe { (empty as *const [u8; 16]).read_unaligned() }
}

/// Makes every kind of access to every kind of page: lazy, populated, and large. Then the rights
/// of all pages change, and the accesses are made again.
fn every_kind_of_fault() -> Outcome {
    let mut tried = 0;
    for (populate, grain) in [
        (false, Grain::Page),
        (true, Grain::Page),
        (false, Grain::Around(4)),
        (false, Grain::Large),
        (true, Grain::Large),
    ] {
        let space = space()?;
        for (index, (_, flags, _)) in KINDS.iter().enumerate() {
            let start = (BASE + index * LARGE).into();
            if let Some(flags) = *flags {
                space
                    .map_alloc_with(start, LARGE, RW, populate, grain)
                    .map_err(error_text)?;
                space.write(start, &code()).map_err(error_text)?;
                space.protect(start, LARGE, flags).map_err(error_text)?;
            }
        }
        let space = SharedAspace::new(space);
        tried += accesses(&space, 0)?;
        // The pages of each kind get the rights of the next kind.
        for (index, (_, flags, _)) in KINDS.iter().enumerate().skip(1) {
            let before = BASE + (index - 1).max(1) * LARGE;
            let flags = flags.unwrap_or(READ);
            space
                .protect(before.into(), LARGE, flags)
                .map_err(error_text)?;
        }
        tried += accesses(&space, 1)?;
    }
    Ok(format!("{tried} accesses to {} kinds of page", KINDS.len()))
}

/// Makes all accesses, and returns their number. With `moved` 0 each kind is at its own place,
/// with 1 at the place of the kind before.
fn accesses(space: &SharedAspace, moved: usize) -> Result<usize, String> {
    let mut tried = 0;
    let kinds = KINDS.iter().enumerate().skip(2 * moved);
    for (index, (kind, _, wanted)) in kinds {
        let addr = BASE + (index - moved) * LARGE;
        let probed = space.run(|| {
            // The fetch comes first. QEMU 10.0's loongarch64 hangs when a fetch is refused by an
            // entry that a load has put into the TLB.
            // SAFETY: executable pages begin with a copy of `empty`, which only returns. All
            // pages belong to this test, which runs on this hart alone.
            unsafe {
                let execute = can_execute(addr);
                (can_read(addr), can_write(addr), execute)
            }
        });
        let found: Can = probed.map_err(error_text)?;
        check(found == *wanted, || {
            format!("{kind} page at {addr:#x}: (read, write, execute) is {found:?}, not {wanted:?}")
        })?;
        tried += 3;
    }
    Ok(tried)
}

/// Copies bytes into an address space from outside, and out again from inside. The pages are
/// accessible to user programs only.
fn copy_in_and_out() -> Outcome {
    let space = space()?;
    let user = RW | MappingFlags::USER;
    space
        .map_alloc(BASE.into(), PAGES * PAGE, user, false)
        .map_err(error_text)?;
    let start = (BASE + PAGE - 100).into();
    let bytes: Vec<u8> = (0..2 * PAGE).map(|n| (n * 7) as u8).collect();
    space.write(start, &bytes).map_err(error_text)?;
    let space = SharedAspace::new(space);
    let mut back = Vec::from([0; 2 * PAGE]);
    space
        .run(|| space.read(start, &mut back))
        .map_err(error_text)?
        .map_err(error_text)?;
    check(back == bytes, || {
        String::from("the bytes read are not the bytes written")
    })?;
    let beyond = space.read((BASE + PAGES * PAGE - 8).into(), &mut back);
    check(beyond == Err(AxError::BadAddress), || {
        format!("read past the end: {beyond:?}")
    })?;
    copy_into_lazy_buffer()?;
    copy_does_not_wait_in_a_fault()?;
    copy_into_stale_pages()?;
    Ok(format!("{} bytes each way", bytes.len()))
}
