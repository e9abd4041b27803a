//! Code that is written at run time: every hart executes what was written last.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use axstd::harts;
use axstd::memory::{Mapping, MappingFlags, SharedAspace, USER_BASE, new_user_aspace, sync_icache};

use crate::mapped::{giving_all_back, say};
use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const RX: MappingFlags = MappingFlags::READ.union(MappingFlags::EXECUTE);

/// How often code is written.
const ROUNDS: usize = 4;

/// Where the code of a user program lies.
const BASE: usize = USER_BASE + (4 << 20);

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("code: made executable", || giving_all_back(made_executable));
    report.test("code: written where it is", || {
        giving_all_back(written_where_it_is)
    });
}

extern "C" fn five() -> usize {
    5
}

extern "C" fn seven() -> usize {
    7
}

/// The code of one of the two, by turns, and what it returns. It needs nothing but itself.
fn code_of(round: usize) -> ([u64; 8], usize) {
    let function: extern "C" fn() -> usize = if round.is_multiple_of(2) { five } else { seven };
    // SAFETY: code can be read, and more code follows in the image.
    let code = unsafe { (function as *const [u64; 8]).read_unaligned() };
    (code, function())
}

/// Lets every hart call the function at `addr`.
fn called(addr: usize, wanted: usize) -> Result<(), String> {
    // SAFETY: the callers have copied such a function there, and made it executable.
    let function: extern "C" fn() -> usize = unsafe { mem::transmute(addr) };
    let found = function();
    check(found == wanted, || {
        format!("the code at {addr:#x} returns {found}, not {wanted}")
    })
}

/// In the kernel's address space nothing is writable and executable: code is written, then
/// made executable.
fn made_executable() -> Outcome {
    let mut mapping = Mapping::populated(PAGE, RW).map_err(say)?;
    let start = mapping.start();
    for round in 0..ROUNDS {
        let (code, wanted) = code_of(round);
        // SAFETY: the page is mapped writable, and this test's alone.
        unsafe { (start as *mut [u64; 8]).write_volatile(code) };
        mapping.protect(0, PAGE, RX).map_err(say)?;
        on_all(|_| called(start, wanted))?;
        mapping.protect(0, PAGE, RW).map_err(say)?;
    }
    Ok(format!("{ROUNDS} times, {} harts", harts::online()))
}

/// In a user program's it may be both: the kernel's copies are executed at once, what is
/// written otherwise once it is synchronized.
fn written_where_it_is() -> Outcome {
    let space = new_user_aspace(BASE.into(), 1 << 20).map_err(say)?;
    space
        .map_alloc(BASE.into(), PAGE, RW | RX, false)
        .map_err(say)?;
    let space = SharedAspace::new(space);
    let call = |wanted| on_all(|_| space.run(|| called(BASE, wanted)).map_err(say)?);
    for round in 0..ROUNDS {
        let (code, wanted) = code_of(round);
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_ne_bytes()).collect();
        space.write(BASE.into(), &bytes).map_err(say)?;
        call(wanted)?;
        let (code, wanted) = code_of(round + 1);
        space
            .run(|| {
                // SAFETY: the page is mapped writable, and this test's alone.
                unsafe { (BASE as *mut [u64; 8]).write_volatile(code) };
                sync_icache(BASE..BASE + size_of_val(&code));
            })
            .map_err(say)?;
        call(wanted)?;
    }
    Ok(format!("{} times, {} harts", 2 * ROUNDS, harts::online()))
}
