//! Accesses that may fault and return all the same.
//!
//! Each architecture has three short functions that probe one address each, and one function
//! that copies bytes. A table in read-only memory (`.fixup_table`) lists each instruction
//! there that may fault, and where to continue after a fault.
//!
//! When an instruction of the table faults, and the page-fault handler does not map the
//! page, the trap handler continues at that place. It does the same for an access that
//! physical memory refuses (access faults, external aborts). When a fetch faults, the pc is the
//! probed address itself. So for a fetch the table lists the return address of the call that
//! went there.

use crate::access::{Access, PageFault};
use crate::arch::TrapFrame;
use crate::arch::{probe_execute, probe_read, probe_write};

/// An entry of the fix-up table.
#[repr(C)]
struct FixUp {
    /// The instruction that may fault, or the address a probing call returns to.
    pc: usize,
    /// Where to continue after a fault.
    resume: usize,
}

unsafe extern "C" {
    static _sfixup: FixUp;
    static _efixup: FixUp;
}

fn table() -> &'static [FixUp] {
    let (start, end) = (&raw const _sfixup, &raw const _efixup);
    // SAFETY: between these two symbols the linker script puts only whole entries, in
    // read-only memory.
    unsafe {
        core::slice::from_raw_parts(start, (end as usize - start as usize) / size_of::<FixUp>())
    }
}

/// Makes a probe that faulted continue after the fault. Returns whether `fault` was a
/// probe's.
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

/// Returns the byte at `addr`, as it is at this moment, or `None` if it cannot be read.
pub fn read(addr: usize) -> Option<u8> {
    // SAFETY: the access reads one byte, or faults and is fixed up.
    u8::try_from(unsafe { probe_read(addr) }).ok()
}

/// Returns whether a byte at `addr` can be read.
pub fn can_read(addr: usize) -> bool {
    read(addr).is_some()
}

/// Returns whether the byte at `addr` can be read and written. It is written back unchanged.
///
/// # Safety
///
/// No other hart writes the byte meanwhile, and it is memory, not a device.
pub unsafe fn can_write(addr: usize) -> bool {
    // SAFETY: the read or the write faults and is fixed up, or the write leaves the byte as it
    // is, which by the caller's promise does not change meanwhile.
    unsafe { probe_write(addr) }
}

/// Returns whether instructions at `addr` can be executed, by calling them.
///
/// # Safety
///
/// If they can be executed, then at `addr` is a function without arguments that has no
/// effects.
pub unsafe fn can_execute(addr: usize) -> bool {
    // SAFETY: the call faults at its first instruction and is fixed up, or runs a function
    // that, by the caller's promise, has no effects.
    unsafe { probe_execute(addr) }
}

/// Copies `len` bytes, up to the first access that faults and whose page the page-fault
/// handler does not map at once. Returns the number of copied bytes. Up to 32 more bytes may have
/// been written behind those.
///
/// The caller may hold a lock for which other harts wait, so no fault of the copy waits for them.
///
/// # Safety
///
/// Where pages are mapped, the bytes at `from` may be read and those at `to` overwritten. No
/// Rust code relies on their values meanwhile.
#[cfg(feature = "paging")]
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: the caller allows the reads and the writes; a fault is fixed up.
    len - unsafe { crate::arch::probe_copy(to, from, len) }
}

/// Returns whether a trap has interrupted [`copy`].
#[cfg(feature = "paging")]
pub(crate) fn is_in_copy(frame: &TrapFrame) -> bool {
    let start = crate::arch::probe_copy as *const () as usize;
    (start..(&raw const crate::arch::probe_copy_end).addr()).contains(&frame.pc())
}

/// Without pages there is no copy.
#[cfg(not(feature = "paging"))]
pub(crate) fn is_in_copy(_: &TrapFrame) -> bool {
    false
}
