//! Address spaces of user programs: entered and left on every hart, each with its
//! own pages under the same addresses and the kernel's beside them.

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

use crate::mapped::{giving_all_back, say, word};
use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);
const RX: MappingFlags = READ.union(MappingFlags::EXECUTE);

/// Where a user's addresses begin here, and how many there are.
const BASE: usize = USER_BASE + LARGE;
const SIZE: usize = 1 << 30;

/// Bytes of a large page.
const LARGE: usize = 2 << 20;

/// Pages of each address space.
const PAGES: usize = 8;

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    // The first makes the kernel's tables ready for all, and they stay.
    let _ = new_user_aspace(BASE.into(), SIZE);
    report.test("spaces: each has its own", || giving_all_back(each_its_own));
    report.test("spaces: one within another", || {
        giving_all_back(one_within_another)
    });
    report.test("spaces: the kernel's in all", || {
        giving_all_back(the_kernels_in_all)
    });
    report.test("spaces: stale nowhere", || giving_all_back(stale_nowhere));
    report.test("spaces: left as it changes", || {
        giving_all_back(left_as_it_changes)
    });
    report.test("spaces: who is asked", || {
        giving_all_back(who_is_not_in_is_not_asked)
    });
    report.test("spaces: ids go round", || giving_all_back(ids_go_round));
    report.test("spaces: every kind of fault", || {
        giving_all_back(every_kind_of_fault)
    });
    report.test("spaces: copied in and out", || {
        giving_all_back(copied_in_and_out)
    });
    report.test("spaces: not entered", || giving_all_back(not_entered));
    report.test("spaces: copied from nowhere", || {
        giving_all_back(copied_from_nowhere)
    });
}

fn space() -> Result<AddrSpace, String> {
    new_user_aspace(BASE.into(), SIZE).map_err(say)
}

/// One with lazy pages that may be read and written.
fn space_with_pages() -> Result<SharedAspace, String> {
    let space = space()?;
    space
        .map_alloc(BASE.into(), PAGES * PAGE, RW, false)
        .map_err(say)?;
    Ok(SharedAspace::new(space))
}

/// Writes to each page a word of this hart's.
fn write_words(hart: usize, value: u64) {
    for page in 0..PAGES {
        // SAFETY: the page is mapped in the address space that this hart is in, and
        // the word is this hart's.
        unsafe { word(BASE + page * PAGE + hart * 8).write_volatile(value + page as u64) };
    }
}

fn check_words(hart: usize, value: u64) -> Result<(), String> {
    (0..PAGES).try_for_each(|page| {
        let addr = BASE + page * PAGE + hart * 8;
        // SAFETY: as in `write_words`.
        let found = unsafe { word(addr).read_volatile() };
        let wanted = value + page as u64;
        check(found == wanted, || {
            format!("{addr:#x} holds {found:#x}, not {wanted:#x}")
        })
    })
}

/// All harts go through several address spaces, each with other words at the same
/// addresses.
fn each_its_own() -> Outcome {
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
                    .map_err(say)??;
            }
        }
        Ok(())
    })?;
    // When all have left: in a process they share one lower half.
    on_all(|_| check(!can_read(BASE), || format!("{BASE:#x} can be read outside")))?;
    Ok(format!(
        "{SPACES} spaces, {ROUNDS} times, on {} harts",
        harts::online()
    ))
}

/// All harts enter one address space from within another, half of them the other way
/// round, and change from there the one that they come from.
fn one_within_another() -> Outcome {
    const ROUNDS: u64 = 16;
    let spaces = [space_with_pages()?, space_with_pages()?];
    on_all(|hart| {
        let (outer, inner) = (&spaces[hart % 2], &spaces[1 - hart % 2]);
        for round in 0..ROUNDS {
            outer
                .run(|| {
                    write_words(hart, 2 * round);
                    inner
                        .run(|| change_from(inner, outer, hart))
                        .map_err(say)??;
                    check_words(hart, 2 * round)?;
                    let at = own_page(hart);
                    check(can_read(at), || format!("{at:#x} cannot be read"))?;
                    outer.unmap(at.into(), PAGE).map_err(say)
                })
                .map_err(say)??;
        }
        Ok(())
    })?;
    Ok(format!("{ROUNDS} rounds, {} harts", harts::online()))
}

/// Within `here`, which has nothing there, maps this hart's own page of `there`.
fn change_from(here: &SharedAspace, there: &SharedAspace, hart: usize) -> Result<(), String> {
    let at = own_page(hart);
    there.map_alloc(at.into(), PAGE, RW, true).map_err(say)?;
    check(here.query(at.into()).is_none() && !can_read(at), || {
        format!("{at:#x} is another address space's, and can be read")
    })
}

/// A page that only this hart maps and unmaps.
fn own_page(hart: usize) -> usize {
    BASE + (PAGES + 4 * hart + 4) * PAGE
}

/// What the kernel maps while a user's address space is entered, or after it was
/// made, is there, and goes again.
fn the_kernels_in_all() -> Outcome {
    let spaces = [space_with_pages()?, space_with_pages()?];
    for space in &spaces {
        on_all(|hart| {
            space
                .run(|| {
                    let lazy = Mapping::lazy(PAGE, RW).map_err(say)?;
                    let start = lazy.start();
                    // SAFETY: it is mapped, and this hart's alone.
                    unsafe { word(start).write_volatile(hart as u64) };
                    drop(lazy);
                    check(!can_read(start) || harts::online() > 1, || {
                        format!("{start:#x} can be read after it was unmapped")
                    })
                })
                .map_err(say)?
        })?;
    }
    let mapping = Mapping::populated(PAGES * PAGE, RW).map_err(say)?;
    let start = mapping.start();
    on_all(|_| {
        spaces.iter().try_for_each(|space| {
            let seen = space.run(|| can_read(start)).map_err(say)?;
            check(seen, || {
                format!("{start:#x} is missing in a user's address space")
            })
        })
    })?;
    drop(mapping);
    on_all(|_| {
        spaces.iter().try_for_each(|space| {
            let seen = space.run(|| can_read(start)).map_err(say)?;
            check(!seen, || {
                format!("{start:#x} is still there in a user's address space")
            })
        })
    })?;
    Ok(format!("2 spaces, {} harts", harts::online()))
}

/// Pages go, and rights, while some harts are inside and others have been.
fn stale_nowhere() -> Outcome {
    const ROUNDS: usize = 4;
    let (one, other) = (space_with_pages()?, space_with_pages()?);
    for round in 0..ROUNDS {
        on_all(|hart| {
            one.run(|| write_words(hart, 7)).map_err(say)?;
            other.run(|| write_words(hart, 9)).map_err(say)
        })?;
        let at = BASE + round * PAGE;
        // Every hart has been inside, and none is.
        one.unmap(at.into(), PAGE).map_err(say)?;
        one.protect((at + PAGE).into(), PAGE, READ).map_err(say)?;
        on_all(|hart| {
            let gone = one
                .run(|| {
                    // SAFETY: it faults, or the test fails.
                    (can_read(at), can_read(at + PAGE), unsafe {
                        can_write(at + PAGE)
                    })
                })
                .map_err(say)?;
            check(gone == (false, true, false), || {
                format!("read, read, write of what was unmapped and protected: {gone:?}")
            })?;
            other.run(|| check_words(hart, 9)).map_err(say)?
        })?;
        let back = one.map_alloc(at.into(), PAGE, RW, false);
        back.map_err(say)?;
        one.protect((at + PAGE).into(), PAGE, RW).map_err(say)?;
        on_all(|hart| one.run(|| inside_while_it_goes(&one, hart)).map_err(say)?)?;
    }
    Ok(format!("{ROUNDS} rounds, {} harts", harts::online()))
}

/// A page of this hart's own comes and goes while this hart, and others, are inside.
fn inside_while_it_goes(space: &SharedAspace, hart: usize) -> Result<(), String> {
    let at = own_page(hart);
    for value in 1..=4 {
        space
            .map_alloc(at.into(), PAGE, RW, value % 2 == 0)
            .map_err(say)?;
        // SAFETY: the page is mapped, and this hart's alone.
        let fresh = unsafe { word(at).replace(value) };
        check(fresh == 0, || format!("{at:#x} holds {fresh:#x}, not zero"))?;
        space.unmap(at.into(), PAGE).map_err(say)?;
        check(!can_read(at), || {
            format!("{at:#x} can be read after it was unmapped")
        })?;
    }
    Ok(())
}

/// Every hart has been inside: a change then asks nobody, and one while all are inside
/// interrupts each other hart once, at most.
fn who_is_not_in_is_not_asked() -> Outcome {
    let space = space_with_pages()?;
    on_all(|hart| space.run(|| write_words(hart, 7)).map_err(say))?;
    let before = tlb::counters();
    space.unmap(BASE.into(), PAGE).map_err(say)?;
    check(tlb::counters() == before, || {
        format!("{before:?} before, {:?} after", tlb::counters())
    })?;
    let (inside, gone) = (AtomicUsize::new(0), AtomicBool::new(false));
    on_all(|hart| {
        let result = space.run(|| {
            inside.fetch_add(1, Ordering::AcqRel);
            let all = || inside.load(Ordering::Acquire) == harts::online();
            while !(gone.load(Ordering::Acquire) || (hart == 0 && all())) {
                core::hint::spin_loop();
            }
            if hart != 0 {
                return Ok(());
            }
            let unmapped = space.unmap((BASE + PAGE).into(), PAGE);
            gone.store(true, Ordering::Release);
            unmapped.map_err(say)
        });
        result.map_err(say)?
    })?;
    let after = tlb::counters();
    let (asked, sent) = (
        after.requests - before.requests,
        after.interrupts - before.interrupts,
    );
    let others = harts::online() as u64 - 1;
    check(asked == others.min(1) && sent <= others, || {
        format!("{asked} requests, {sent} interrupts for {others} other harts")
    })?;
    Ok(format!("{sent} interrupts for {others} other harts inside"))
}

/// A page goes while a hart is on its way out.
fn left_as_it_changes() -> Outcome {
    const ROUNDS: usize = 64;
    if harts::online() < 2 {
        return Ok(String::from("1 hart"));
    }
    let space = space_with_pages()?;
    for round in 0..ROUNDS {
        let (inside, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        let wait_for = |flag: &AtomicBool| {
            while !flag.load(Ordering::Acquire) {
                core::hint::spin_loop();
            }
        };
        on_all(|hart| match hart {
            0 => {
                wait_for(&inside);
                // The other hart leaves meanwhile: sooner and later from round to round.
                for _ in 0..round * 100 {
                    core::hint::spin_loop();
                }
                let unmapped = space.unmap(BASE.into(), PAGE).map_err(say);
                gone.store(true, Ordering::Release);
                unmapped
            }
            1 => {
                space
                    .run(|| {
                        write_words(hart, 7);
                        inside.store(true, Ordering::Release);
                    })
                    .map_err(say)?;
                wait_for(&gone);
                let stale = space.run(|| can_read(BASE)).map_err(say)?;
                check(!stale, || {
                    format!("round {round}: {BASE:#x} can be read after it was unmapped")
                })
            }
            _ => Ok(()),
        })?;
        space.map_alloc(BASE.into(), PAGE, RW, false).map_err(say)?;
    }
    Ok(format!("{ROUNDS} rounds"))
}

/// More address spaces one after the other than some machines have ids.
fn ids_go_round() -> Outcome {
    const SPACES: u64 = 1200;
    let stays = space_with_pages()?;
    stays.run(|| write_words(0, 5)).map_err(say)?;
    for value in 0..SPACES {
        let next = space_with_pages()?;
        let fresh = next
            .run(|| {
                // SAFETY: the page is mapped, and nobody else's.
                let fresh = unsafe { word(BASE).read_volatile() };
                write_words(0, value);
                fresh
            })
            .map_err(say)?;
        check(fresh == 0, || format!("space {value} sees {fresh:#x}"))?;
        if value % 100 == 0 {
            stays.run(|| check_words(0, 5)).map_err(say)??;
        }
    }
    stays.run(|| check_words(0, 5)).map_err(say)??;
    Ok(format!("{SPACES} spaces one after the other"))
}

/// The buffer of a copy is lazy itself, in the address space that is locked for it.
fn into_a_lazy_buffer() -> Result<(), String> {
    const FROM: usize = KERNEL_MAP_BASE;
    let kernel = kernel_aspace();
    let mapped = kernel.map_alloc(FROM.into(), 2 * PAGE, RW, false);
    mapped.map_err(say)?;
    let to = Mapping::lazy(2 * PAGE, RW).map_err(say)?;
    // SAFETY: it is mapped, this test's alone, and the words of a page are bytes.
    let buffer = unsafe {
        word(FROM + PAGE).write_volatile(6);
        slice::from_raw_parts_mut(word(to.start()).cast::<u8>(), 2 * PAGE)
    };
    kernel.read(FROM.into(), buffer).map_err(say)?;
    kernel.unmap(FROM.into(), 2 * PAGE).map_err(say)?;
    check(buffer[PAGE] == 6, || {
        format!("{} came into a lazy buffer, not 6", buffer[PAGE])
    })
}

/// What a hart cannot be in is refused: what has mappings that are not the kernel's, or not
/// all of the kernel's, and what is not in the user half.
fn not_entered() -> Outcome {
    let refused = |what: &str, result: Result<(), AxError>| {
        check(result == Err(AxError::InvalidInput), || {
            format!("{what}: {result:?}")
        })
    };
    let entered = |space: AddrSpace| SharedAspace::new(space).run(|| ());
    let user = || AddrSpace::new_empty_user(BASE.into(), SIZE).map_err(say);

    let other = space_with_pages()?;
    let mut borrower = user()?;
    refused(
        "another user's mappings",
        borrower.copy_mappings_from(&other),
    )?;
    refused("to share a user's", other.share())?;
    let with = AddrSpace::new_user_with(BASE.into(), SIZE, &other).map(drop);
    refused("made with a user's", with)?;

    let kernel = AddrSpace::new_empty(KERNEL_MAP_BASE.into(), SIZE).map_err(say)?;
    borrower.copy_mappings_from(&kernel).map_err(say)?;
    refused("to enter with another kernel's mappings", entered(borrower))?;
    refused("to enter a kernel's", entered(kernel))?;
    let upper = AddrSpace::new_empty_user(KERNEL_MAP_BASE.into(), SIZE).map_err(say)?;
    refused("to enter one in the kernel's half", entered(upper))?;
    entered(space()?).map_err(say)?;
    Ok(String::from("3 loans, 3 entries"))
}

/// The buffer of a copy is a page that this hart remembers otherwise: as absent, for it has
/// used the page that LoongArch's TLB has in one entry with it; or as read-only.
fn into_a_stale_buffer() -> Result<(), String> {
    const FROM: usize = KERNEL_MAP_BASE;
    const EVEN: usize = FROM + 2 * PAGE;
    const LATE: usize = EVEN + PAGE;
    let kernel = kernel_aspace();
    for page in [FROM, EVEN] {
        let mapped = kernel.map_alloc(page.into(), PAGE, RW, false);
        mapped.map_err(say)?;
        // SAFETY: it is mapped, and this test's alone.
        unsafe { word(page).write_volatile(6) };
    }
    let mapped = kernel.map_alloc(LATE.into(), PAGE, RW, true);
    mapped.map_err(say)?;
    copied_into(FROM, LATE)?;

    let mut mapping = Mapping::populated(harts::count() * PAGE, RW).map_err(say)?;
    let (start, size) = (mapping.start(), mapping.size());
    let page = |hart: usize| start + hart * PAGE;
    mapping.protect(0, size, READ).map_err(say)?;
    on_all(|hart| {
        check(can_read(page(hart)), || {
            format!("{:#x} cannot be read", page(hart))
        })
    })?;
    mapping.protect(0, size, RW).map_err(say)?;
    on_all(|hart| copied_into(FROM, page(hart)))?;
    kernel.unmap(FROM.into(), 4 * PAGE).map_err(say)
}

/// Copies a page from `from`, where the first word is 6, to `to`.
fn copied_into(from: usize, to: usize) -> Result<(), String> {
    // SAFETY: the page is mapped writable, and this test's alone.
    let buffer = unsafe { slice::from_raw_parts_mut(word(to).cast::<u8>(), PAGE) };
    kernel_aspace().read(from.into(), buffer).map_err(say)?;
    check(buffer[0] == 6, || {
        format!("{} came to {to:#x}, not 6", buffer[0])
    })
}

/// Pages that a linear mapping leads to where there is no memory, or where the kernel
/// does not reach it, are an error to copies, in and out.
fn copied_from_nowhere() -> Outcome {
    // The end of what the direct map has room for, beyond it, and what the address in
    // the direct map overflows at; the first page of memory of riscv64 is the firmware's.
    let mut nowhere = Vec::from([MAX_PHYS - PAGE, MAX_PHYS, PHYS_VIRT_OFFSET.wrapping_neg()]);
    if cfg!(target_arch = "riscv64") {
        nowhere.push(0x8000_0000);
    }
    let space = space()?;
    let mut tried = 0;
    for paddr in nowhere {
        // SAFETY: what is accessed through it is no memory of Rust's.
        match unsafe { space.map_linear(BASE.into(), paddr.into(), PAGE, RW) } {
            // The machine has no such address.
            Err(AxError::InvalidInput) => continue,
            mapped => mapped.map_err(say)?,
        }
        let mut buffer = [7; 100];
        let copies = [
            space.read(BASE.into(), &mut buffer),
            space.write((BASE + 8).into(), &buffer),
            space.read_cstr(BASE.into(), &mut buffer).map(drop),
        ];
        let refused = copies.iter().all(|copy| *copy == Err(AxError::BadAddress));
        check(refused, || {
            format!("read, write, text at {paddr:#x}: {copies:?}")
        })?;
        space.unmap(BASE.into(), PAGE).map_err(say)?;
        tried += copies.len();
    }
    Ok(format!("{tried} copies"))
}

/// What is at an address: can it be read, written, executed?
type Can = (bool, bool, bool);

/// A kind of page: what it is called, its rights, if it is mapped, and what can be done.
const KINDS: [(&str, Option<MappingFlags>, Can); 6] = [
    ("a hole", None, (false, false, false)),
    (
        "without rights",
        Some(MappingFlags::empty()),
        (false, false, false),
    ),
    ("read-only", Some(READ), (true, false, false)),
    ("writable", Some(RW), (true, true, false)),
    ("code", Some(RX), (true, false, true)),
    ("writable code", Some(RW.union(RX)), (true, true, true)),
];

/// What is executed to see whether it can be.
extern "C" fn nothing() {}

/// Its first bytes, in which it returns.
fn code() -> [u8; 16] {
    // SAFETY: code can be read, and more code follows in the image.
    unsafe { (nothing as *const [u8; 16]).read_unaligned() }
}

/// Every kind of access to every kind of page, lazy, populated, and in large pages:
/// each is a real fault, or none. The same once more with other rights.
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
                    .map_err(say)?;
                space.write(start, &code()).map_err(say)?;
                space.protect(start, LARGE, flags).map_err(say)?;
            }
        }
        let space = SharedAspace::new(space);
        tried += accesses(&space, 0)?;
        // Each kind becomes the next.
        for (index, (_, flags, _)) in KINDS.iter().enumerate().skip(1) {
            let before = BASE + (index - 1).max(1) * LARGE;
            let flags = flags.unwrap_or(READ);
            space.protect(before.into(), LARGE, flags).map_err(say)?;
        }
        tried += accesses(&space, 1)?;
    }
    Ok(format!("{tried} accesses to {} kinds of page", KINDS.len()))
}

/// Tries all of them; those `moved` on are where the one before was. Answers how many.
fn accesses(space: &SharedAspace, moved: usize) -> Result<usize, String> {
    let mut tried = 0;
    let kinds = KINDS.iter().enumerate().skip(2 * moved);
    for (index, (what, _, wanted)) in kinds {
        let addr = BASE + (index - moved) * LARGE;
        let probed = space.run(|| {
            // The fetch first: QEMU 10.0's loongarch64 hangs on one that is refused by
            // what the TLB knows of the page already.
            // SAFETY: what may be executed begins with a return, and what may be written
            // is this test's own.
            unsafe {
                let execute = can_execute(addr);
                (can_read(addr), can_write(addr), execute)
            }
        });
        let found: Can = probed.map_err(say)?;
        check(found == *wanted, || {
            format!("{what}, {addr:#x}: (read, write, execute) is {found:?}, not {wanted:?}")
        })?;
        tried += 3;
    }
    Ok(tried)
}

/// Bytes go in and come out whether the address space is entered or not, and also of
/// pages that only users may access.
fn copied_in_and_out() -> Outcome {
    let space = space()?;
    let user = RW | MappingFlags::USER;
    space
        .map_alloc(BASE.into(), PAGES * PAGE, user, false)
        .map_err(say)?;
    let start = (BASE + PAGE - 100).into();
    let bytes: Vec<u8> = (0..2 * PAGE).map(|n| (n * 7) as u8).collect();
    space.write(start, &bytes).map_err(say)?;
    let space = SharedAspace::new(space);
    let mut back = Vec::from([0; 2 * PAGE]);
    space
        .run(|| space.read(start, &mut back))
        .map_err(say)?
        .map_err(say)?;
    check(back == bytes, || {
        String::from("what came out is not what went in")
    })?;
    let beyond = space.read((BASE + PAGES * PAGE - 8).into(), &mut back);
    check(beyond == Err(AxError::BadAddress), || {
        format!("past the end: {beyond:?}")
    })?;
    into_a_lazy_buffer()?;
    into_a_stale_buffer()?;
    Ok(format!("{} bytes", bytes.len()))
}
