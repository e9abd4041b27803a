//! The kernel's map: each part has exactly the rights it should have. Every
//! claim is an access that is made, and faults or does not.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use axstd::harts;
use axstd::memory::probe::{can_execute, can_read, can_write};
use axstd::memory::{
    IMAGE_IS_IN_RAM, MemRegionFlags, Section, UsageKind, alloc_frame, guard_of, sections,
    virt_to_phys,
};

use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;

/// Bytes enough for `nothing`.
const CODE: usize = 16;

/// A function that only returns: what is executed to see whether it can be.
extern "C" fn nothing() {}

/// Initialized data, and data that is zero at boot.
static mut DATA: [u8; CODE] = [1; CODE];
static mut BSS: [u8; CODE] = [0; CODE];

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("map: image, page by page", every_page_of_the_image);
    report.test("map: only code is executable", only_code_is_executable);
    report.test("map: guard zones and holes", guard_zones_and_holes);
    report.test("map: the same on every hart", the_same_on_every_hart);
}

/// A right that is there and should not be, or the other way round.
fn expect(what: &str, addr: usize, verb: &str, can: bool, should: bool) -> Result<(), String> {
    let not = if can { "" } else { "not " };
    check(can == should, || {
        format!("{what} at {addr:#x} can {not}be {verb}")
    })
}

/// Checks the first byte of a page of `section`. Only the first hart runs: all
/// others wait, so nobody writes to the section meanwhile.
fn check_page(section: &Section, addr: usize) -> Result<(), String> {
    let has = |flag| section.flags.contains(flag);
    expect(
        section.name,
        addr,
        "read",
        can_read(addr),
        has(MemRegionFlags::READ),
    )?;
    // SAFETY: it is memory, and nobody writes to it meanwhile (see above).
    let writable = unsafe { can_write(addr) };
    expect(
        section.name,
        addr,
        "written",
        writable,
        has(MemRegionFlags::WRITE),
    )
}

fn every_page_of_the_image() -> Outcome {
    let mut pages = 0;
    for section in sections() {
        for addr in (section.start..section.end).step_by(PAGE) {
            check_page(&section, addr)?;
            check_page(&section, addr + PAGE - 1)?;
            pages += 1;
        }
    }
    Ok(format!("{pages} pages of {} sections", sections().len()))
}

/// Copies `nothing` to `target` and calls it there: a call that works returns.
fn is_executable(target: *mut u8) -> bool {
    // SAFETY: `target` has room for it, by its callers; the code is readable,
    // and has no more than `CODE` bytes that matter, for it only returns.
    unsafe {
        core::ptr::copy_nonoverlapping(nothing as *const u8, target, CODE);
        can_execute(target as usize)
    }
}

fn only_code_is_executable() -> Outcome {
    // SAFETY: it is the function.
    let code = unsafe { can_execute(nothing as *const () as usize) };
    expect(
        ".text",
        nothing as *const () as usize,
        "executed",
        code,
        true,
    )?;
    let mut frame = alloc_frame(UsageKind::Global).map_err(|error| format!("{error:?}"))?;
    let mut boxed = Box::new([0_u8; CODE]);
    let mut on_stack = [0_u8; CODE];
    let targets = [
        (".data", &raw mut DATA as *mut u8),
        (".bss", &raw mut BSS as *mut u8),
        ("the stack", on_stack.as_mut_ptr()),
        ("the heap", boxed.as_mut_ptr()),
        ("free memory", frame.as_bytes_mut().as_mut_ptr()),
    ];
    for (what, target) in targets {
        expect(
            what,
            target as usize,
            "executed",
            is_executable(target),
            false,
        )?;
    }
    let constants = sections()
        .into_iter()
        .find(|section| section.name == ".rodata");
    if let Some(Section { start, .. }) = constants {
        // SAFETY: it faults at once; were it not to, what is there is no code,
        // and the machine would end, which fails the test as well.
        let executable = unsafe { can_execute(start) };
        expect(".rodata", start, "executed", executable, false)?;
    }
    Ok(format!(
        "{} kinds of memory that are not code",
        targets.len() + 1
    ))
}

/// Bytes below every stack where nothing is mapped, at least.
const GUARD: usize = 1 << 20;

/// The lowest address of the stack this runs on.
fn own_stack() -> usize {
    let local = 0_u8;
    let mut page = &raw const local as usize & !(PAGE - 1);
    while can_read(page - 1) {
        page -= PAGE;
    }
    page
}

fn guard_zones_and_holes() -> Outcome {
    on_all(|hart| {
        let stack = own_stack();
        for below in (1..=GUARD).step_by(PAGE).chain([GUARD]) {
            let addr = stack - below;
            let of = guard_of(addr);
            check(of == Some(hart), || {
                format!("{below} bytes below the stack is the guard zone of {of:?}")
            })?;
            expect("the guard zone", addr, "read", can_read(addr), false)?;
            // SAFETY: nothing is mapped there.
            let writable = unsafe { can_write(addr) };
            expect("the guard zone", addr, "written", writable, false)?;
        }
        check(guard_of(stack).is_none(), || {
            format!("the stack at {stack:#x} counts as a guard zone")
        })
    })?;
    // A process's image is where Linux has loaded it: no boot has mapped it twice.
    let boot_map = IMAGE_IS_IN_RAM.then(|| virt_to_phys(sections()[0].start));
    let boot_map = boot_map.map(|addr| ("the boot's one-to-one mapping", addr));
    for (what, addr) in [("the null page", 0)].into_iter().chain(boot_map) {
        expect(what, addr, "read", can_read(addr), false)?;
        // SAFETY: it faults before anything is executed; were the mapping there,
        // the image's first bytes would start the machine anew.
        expect(what, addr, "executed", unsafe { can_execute(addr) }, false)?;
    }
    Ok(format!(
        "{} guard zones, the null page, {}",
        harts::online(),
        match IMAGE_IS_IN_RAM {
            true => "the boot's map",
            false => "here no boot's map",
        }
    ))
}

fn the_same_on_every_hart() -> Outcome {
    let slots = [const { AtomicU64::new(0) }; 64];
    on_all(|hart| {
        for section in sections() {
            let pages = (section.start..section.end).step_by(PAGE);
            for addr in pages.take(64) {
                let readable = section.flags.contains(MemRegionFlags::READ);
                expect(section.name, addr, "read", can_read(addr), readable)?;
                if !section.flags.contains(MemRegionFlags::WRITE) {
                    // SAFETY: it faults; if not, it writes back what nobody
                    // changes.
                    let writable = unsafe { can_write(addr) };
                    expect(section.name, addr, "written", writable, false)?;
                }
            }
        }
        slots[hart].store(hart as u64 + 1, Ordering::Relaxed);
        let mut on_stack = [0_u8; CODE];
        expect(
            "the stack",
            0,
            "executed",
            is_executable(on_stack.as_mut_ptr()),
            false,
        )
    })?;
    let wrote = slots
        .iter()
        .filter(|slot| slot.load(Ordering::Relaxed) != 0)
        .count();
    check(wrote == harts::online(), || {
        format!("{wrote} of {} harts ran", harts::online())
    })?;
    Ok(format!("{wrote} harts"))
}
