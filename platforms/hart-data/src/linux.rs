//! Per-hart data for a process of x86_64 Linux.
//!
//! `percpu` would link std, which has its own panic handler and out-of-memory handler. Its
//! macro does not need std.
//!
//! Each hart has a copy of the section `.percpu`; a single hart uses the section itself. Code
//! adds a variable's address in the section to the register GS. So GS is the address of the
//! hart's copy minus the address of the section.

use percpu_macros::def_percpu;

// The macro's code names the crate so.
use crate as percpu;

unsafe extern "C" {
    static _percpu_load_start: u8;
    static _percpu_load_end: u8;
}

/// The value of GS, which a process cannot read as a register. For a pointer to a variable the
/// macro's code reads it here and adds the variable's address in the section.
#[unsafe(no_mangle)]
#[def_percpu]
static SELF_PTR: usize = 0;

/// Returns the address of the section `.percpu`.
fn section() -> usize {
    &raw const _percpu_load_start as usize
}

/// Returns the size in bytes of a hart's copy.
pub fn percpu_area_size() -> usize {
    &raw const _percpu_load_end as usize - section()
}

/// Returns 0. The macro's code for access to another hart's variable needs this function, but
/// the kernel never runs that code: a hart accesses its own data only.
pub fn percpu_area_base(_number: usize) -> usize {
    0
}

/// Makes the calling thread use the copy at the address `copy`.
///
/// # Safety
///
/// The copy must have [`percpu_area_size`] bytes, and no other thread may use it.
pub unsafe fn write_percpu_reg(copy: usize) {
    /// `arch_prctl(2)`.
    const ARCH_SET_GS: i32 = 0x1001;

    let gs = copy.wrapping_sub(section());
    // SAFETY: the caller promises the memory of the copy for this thread only. In a process
    // only per-hart data uses GS.
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, gs);
        SELF_PTR.write_current_raw(gs);
    }
}
