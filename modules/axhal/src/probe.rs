//! Accesses that may fault, and come back all the same.
//!
//! Each architecture has three short functions that make exactly one access, and one
//! that copies bytes. A table in read-only memory (`.fixup_table`) names the instruction that may
//! fault and where to go on if it does; a fault whose instruction is in the
//! table, and that the page-fault handler does not resolve, goes on there. So does an
//! access that physical memory refuses (access faults, external aborts). An instruction fetch
//! faults at the address it was to fetch from, so it is found by the address it
//! would have returned to.

use crate::arch::TrapFrame;
use crate::arch::{probe_execute, probe_read, probe_write};
use crate::trap::{Access, PageFault};

/// One line of the fix-up table.
#[repr(C)]
struct FixUp {
    /// The instruction that may fault, or the address a probed call returns to.
    pc: usize,
    /// Where to go on.
    resume: usize,
}

unsafe extern "C" {
    static _sfixup: FixUp;
    static _efixup: FixUp;
}

fn table() -> &'static [FixUp] {
    let (start, end) = (&raw const _sfixup, &raw const _efixup);
    // SAFETY: the linker script puts whole entries, and nothing else, between
    // these two symbols, in read-only memory.
    unsafe {
        core::slice::from_raw_parts(start, (end as usize - start as usize) / size_of::<FixUp>())
    }
}

/// Lets a probe that faulted go on. Answers whether it was one.
pub(crate) fn fix_up(frame: &mut TrapFrame, fault: &PageFault) -> bool {
    let execute = fault.access == Access::EXECUTE;
    let pc = if execute {
        frame.return_address()
    } else {
        frame.pc()
    };
    let Some(entry) = table().iter().find(|entry| entry.pc == pc) else {
        return false;
    };
    frame.set_pc(entry.resume);
    if execute {
        frame.drop_return_address();
    }
    true
}

/// The byte at `addr`, as it is at this moment; `None` if it cannot be read.
pub fn read(addr: usize) -> Option<u8> {
    // SAFETY: the access faults or reads one byte; a fault is fixed up.
    u8::try_from(unsafe { probe_read(addr) }).ok()
}

/// Whether a byte at `addr` can be read.
pub fn can_read(addr: usize) -> bool {
    read(addr).is_some()
}

/// Whether the byte at `addr` can be written. It is written back as it is.
///
/// # Safety
///
/// No other hart writes the byte meanwhile, and it is memory, not a device.
pub unsafe fn can_write(addr: usize) -> bool {
    // SAFETY: the access faults or writes back what is there, which the caller
    // says nobody changes; a fault is fixed up.
    can_read(addr) && unsafe { probe_write(addr) }
}

/// Whether instructions at `addr` can be executed, by a call.
///
/// # Safety
///
/// If they can, then those at `addr` are a function without arguments that
/// changes nothing.
pub unsafe fn can_execute(addr: usize) -> bool {
    // SAFETY: the call faults at its first instruction, and is fixed up, or
    // runs what the caller vouches for.
    unsafe { probe_execute(addr) }
}

/// Copies `len` bytes, up to the first access that faults and is not resolved. Returns how
/// many bytes were copied. Up to 32 more may have been written behind those.
///
/// # Safety
///
/// Bytes that are mapped at `from` can be copied, and those at `to` overwritten: no Rust
/// code relies on what they are meanwhile.
#[cfg(feature = "paging")]
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: the caller's promise; a fault is fixed up.
    len - unsafe { crate::arch::probe_copy(to, from, len) }
}
