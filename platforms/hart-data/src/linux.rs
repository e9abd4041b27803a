//! Per-hart data for a process of Linux on x86_64. `percpu` would bring std, and with it a
//! panic handler and a way to be out of memory of its own; its macro does not.
//!
//! Each hart has a copy of the section `.percpu`, or, if it is alone, the section. Code names
//! a variable by its address in that section, from the register GS on: GS is as far
//! before the hart's copy as the section is behind address 0.

use percpu_macros::def_percpu;

use crate as percpu;

unsafe extern "C" {
    static _percpu_load_start: u8;
    static _percpu_load_end: u8;
}

/// What the macro's code adds an address in the section to: GS, which a process
/// cannot read.
#[unsafe(no_mangle)]
#[def_percpu]
static SELF_PTR: usize = 0;

fn section() -> usize {
    &raw const _percpu_load_start as usize
}

/// The bytes of a hart's copy.
pub fn percpu_area_size() -> usize {
    &raw const _percpu_load_end as usize - section()
}

/// What the macro's code for another hart's variable asks for. The kernel has no such code:
/// a hart reads its own data only.
pub fn percpu_area_base(_number: usize) -> usize {
    0
}

/// Makes the calling thread use the copy at address `copy`.
///
/// # Safety
///
/// The copy is as long as the section, and no other thread's.
pub unsafe fn write_percpu_reg(copy: usize) {
    /// `arch_prctl(2)`.
    const ARCH_SET_GS: i32 = 0x1001;

    let gs = copy.wrapping_sub(section());
    // SAFETY: the caller's promise; nothing but per-hart data uses GS in a process.
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, gs);
        SELF_PTR.write_current_raw(gs);
    }
}
