//! The kernel's map: each part has exactly the rights it should have. Every test makes real
//! accesses, and checks which of them fault.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicBool, Ordering};

use axstd::harts;
use axstd::memory::probe::{can_execute, can_read, can_write};
use axstd::memory::{
    IMAGE_IS_IN_RAM, MemRegionFlags, Section, UsageKind, alloc_frame, guard_of, sections,
    virt_to_phys,
};

use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;

/// The number of bytes that hold the code of `empty`.
const CODE: usize = 16;

/// A function that only returns. Executing a copy of it tells whether memory is executable.
extern "C" fn empty() {}

/// Initialized data, and data that is zero at boot.
static mut DATA: [u8; CODE] = [1; CODE];
static mut BSS: [u8; CODE] = [0; CODE];

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("map: rights of image pages", rights_of_image_pages);
    report.test("map: only code is executable", only_code_is_executable);
    report.test("map: guard zones, null page", unmapped_addresses);
    report.test("map: rights on every hart", rights_on_every_hart);
}

/// Fails unless `can`, the result of an access, equals `should`.
fn expect(what: &str, addr: usize, verb: &str, can: bool, should: bool) -> Result<(), String> {
    let not = if can { "" } else { "not " };
    check(can == should, || {
        format!("{what} at {addr:#x} can {not}be {verb}")
    })
}

/// Checks the rights of the byte at `addr`, in a page of `section`. The callers run on the first
/// hart while all other harts wait, so that the section does not change.
fn check_page(section: &Section, addr: usize) -> Result<(), String> {
    let has = |flag| section.flags.contains(flag);
    expect(
        section.name,
        addr,
        "read",
        can_read(addr),
        has(MemRegionFlags::READ),
    )?;
    // SAFETY: the byte lies in the kernel's image. Only this hart runs, so that no other hart
    // writes the byte between the read and the write of the probe.
    let writable = unsafe { can_write(addr) };
    expect(
        section.name,
        addr,
        "written",
        writable,
        has(MemRegionFlags::WRITE),
    )
}

fn rights_of_image_pages() -> Outcome {
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

/// Copies `empty` to `target`, calls it there, and returns whether the call worked. `target` must
/// be writable for [`CODE`] bytes, and belong to the caller.
fn is_executable(target: *mut u8) -> bool {
    // SAFETY: `target` is writable for `CODE` bytes, which every caller guarantees. The image's
    // code is readable. `empty` only returns, so that its first `CODE` bytes suffice.
    unsafe {
        core::ptr::copy_nonoverlapping(empty as *const u8, target, CODE);
        can_execute(target as usize)
    }
}

fn only_code_is_executable() -> Outcome {
    // SAFETY: the address is the start of `empty`, which only returns.
    let code = unsafe { can_execute(empty as *const () as usize) };
    expect(".text", empty as *const () as usize, "executed", code, true)?;
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
        // SAFETY: constants are not executable, so that the call faults at once. If they were,
        // the machine would crash, which fails the test as well.
        let executable = unsafe { can_execute(start) };
        expect(".rodata", start, "executed", executable, false)?;
    }
    Ok(format!("{} kinds of data memory", targets.len() + 1))
}

/// The least size in bytes of the unmapped guard zone below every stack.
const GUARD: usize = 1 << 20;

/// Returns the lowest mapped address of the calling thread's stack.
fn own_stack() -> usize {
    let local = 0_u8;
    let mut page = &raw const local as usize & !(PAGE - 1);
    while can_read(page - 1) {
        page -= PAGE;
    }
    page
}

/// Checks the guard zone below the stack of `hart`, which is the calling hart.
fn check_guard_zone(hart: usize) -> Result<(), String> {
    let stack = own_stack();
    for below in (1..=GUARD).step_by(PAGE).chain([GUARD]) {
        let addr = stack - below;
        let owner = guard_of(addr);
        check(owner == Some(hart), || {
            format!("{below} bytes below the stack: guard zone of {owner:?}")
        })?;
        expect("the guard zone", addr, "read", can_read(addr), false)?;
        // SAFETY: the address is in the guard zone, as checked above, so that the write faults.
        // If the page were mapped, the probe would write back what it read.
        let writable = unsafe { can_write(addr) };
        expect("the guard zone", addr, "written", writable, false)?;
    }
    check(guard_of(stack).is_none(), || {
        format!("the stack at {stack:#x} counts as a guard zone")
    })
}

/// Guard zones, the null page, and the boot's identity map must not be mapped.
fn unmapped_addresses() -> Outcome {
    on_all(check_guard_zone)?;
    // Linux loads the image of a process, so that there is no identity map from the boot.
    let boot_map = IMAGE_IS_IN_RAM.then(|| virt_to_phys(sections()[0].start));
    let boot_map = boot_map.map(|addr| ("the boot's identity map", addr));
    for (what, addr) in [("the null page", 0)].into_iter().chain(boot_map) {
        expect(what, addr, "read", can_read(addr), false)?;
        // SAFETY: the fetch faults, since the address is not mapped. If the identity map were
        // still there, the image's first instructions would boot again, and the test would fail.
        expect(what, addr, "executed", unsafe { can_execute(addr) }, false)?;
    }
    Ok(format!(
        "{} guard zones, null page{}",
        harts::online(),
        match IMAGE_IS_IN_RAM {
            true => ", boot's identity map",
            false => "",
        }
    ))
}

fn rights_on_every_hart() -> Outcome {
    let ran = [const { AtomicBool::new(false) }; 64];
    on_all(|hart| {
        for section in sections() {
            let pages = (section.start..section.end).step_by(PAGE);
            for addr in pages.take(64) {
                let readable = section.flags.contains(MemRegionFlags::READ);
                expect(section.name, addr, "read", can_read(addr), readable)?;
                if !section.flags.contains(MemRegionFlags::WRITE) {
                    // SAFETY: the section is read-only, so that the write faults. If it does
                    // not, the probe writes back the byte, which no hart changes.
                    let writable = unsafe { can_write(addr) };
                    expect(section.name, addr, "written", writable, false)?;
                }
            }
        }
        // Relaxed: `on_all` returns after all harts have finished.
        ran[hart].store(true, Ordering::Relaxed);
        let mut on_stack = [0_u8; CODE];
        expect(
            "the stack",
            0,
            "executed",
            is_executable(on_stack.as_mut_ptr()),
            false,
        )
    })?;
    let count = ran.iter().filter(|ran| ran.load(Ordering::Relaxed)).count();
    check(count == harts::online(), || {
        format!("{count} of {} harts ran", harts::online())
    })?;
    Ok(format!("image and stack on {count} harts"))
}
