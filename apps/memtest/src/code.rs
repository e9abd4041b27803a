//! Code that is written at run time: every hart executes what was written last.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use axstd::harts;
use axstd::memory::{Mapping, MappingFlags, SharedAspace, USER_BASE, new_user_aspace, sync_icache};

use crate::mapped_memory::without_leak;
use crate::report::{Outcome, Report, check, error_text, on_all};

const PAGE: usize = 4096;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const RX: MappingFlags = MappingFlags::READ.union(MappingFlags::EXECUTE);

/// The number of times that a test writes code.
const ROUNDS: usize = 4;

/// The address of the code in a user program's address space.
const BASE: usize = USER_BASE + (4 << 20);

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("code: made executable", || without_leak(made_executable));
    report.test("code: modified in place", || {
        without_leak(modified_in_place)
    });
}

extern "C" fn five() -> usize {
    5
}

extern "C" fn seven() -> usize {
    7
}

/// Returns the code of `five` in even rounds and of `seven` in odd ones, and the number that it
/// returns. The code is position-independent and refers to nothing outside itself.
fn code_of(round: usize) -> ([u64; 8], usize) {
    let function: extern "C" fn() -> usize = if round.is_multiple_of(2) { five } else { seven };
    // SAFETY: the image's code is readable, and more code follows these functions in the image,
    // so that 64 bytes can be read.
    let code = unsafe { (function as *const [u64; 8]).read_unaligned() };
    (code, function())
}

/// Calls the function at `addr`, and checks that it returns `wanted`.
fn check_call(addr: usize, wanted: usize) -> Result<(), String> {
    // SAFETY: the callers have copied `five` or `seven` to `addr` and made the page executable.
    let function: extern "C" fn() -> usize = unsafe { mem::transmute(addr) };
    let found = function();
    check(found == wanted, || {
        format!("the code at {addr:#x} returns {found}, not {wanted}")
    })
}

/// In the kernel's address space no page is both writable and executable, so that code is
/// written first and made executable then.
fn made_executable() -> Outcome {
    let mut mapping = Mapping::populated(PAGE, RW).map_err(error_text)?;
    let start = mapping.start();
    for round in 0..ROUNDS {
        let (code, wanted) = code_of(round);
        // SAFETY: this test owns the page, and it is mapped writable in this part of the round.
        unsafe { (start as *mut [u64; 8]).write_volatile(code) };
        mapping.protect(0, PAGE, RX).map_err(error_text)?;
        on_all(|_| check_call(start, wanted))?;
        mapping.protect(0, PAGE, RW).map_err(error_text)?;
    }
    Ok(format!("{ROUNDS} rounds, {} harts", harts::online()))
}

/// In a user program's address space a page may be both writable and executable. Code that the
/// kernel copies there can be executed at once. Code that is stored directly can be executed
/// after `sync_icache`.
fn modified_in_place() -> Outcome {
    let space = new_user_aspace(BASE.into(), 1 << 20).map_err(error_text)?;
    space
        .map_alloc(BASE.into(), PAGE, RW | RX, false)
        .map_err(error_text)?;
    let space = SharedAspace::new(space);
    let call = |wanted| on_all(|_| space.run(|| check_call(BASE, wanted)).map_err(error_text)?);
    for round in 0..ROUNDS {
        let (code, wanted) = code_of(round);
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_ne_bytes()).collect();
        space.write(BASE.into(), &bytes).map_err(error_text)?;
        call(wanted)?;
        let (code, wanted) = code_of(round + 1);
        space
            .run(|| {
                // SAFETY: this test owns the page, which is mapped writable in the address
                // space that this hart is in.
                unsafe { (BASE as *mut [u64; 8]).write_volatile(code) };
                sync_icache(BASE..BASE + size_of_val(&code));
            })
            .map_err(error_text)?;
        call(wanted)?;
    }
    Ok(format!("{} rounds, {} harts", 2 * ROUNDS, harts::online()))
}
