//! Per-hart data for a process of Linux on x86_64: what the kernel uses of the crate
//! `percpu`, under the same names. That crate needs std outside a bare machine, which
//! brings a panic handler and a way to be out of memory of its own; its macro does
//! not.
//!
//! Each hart has a copy of the section `.percpu`, which no hart uses itself. Code names
//! a variable by its address in that section, from the register GS on: GS is as far
//! before the hart's copy as the section is behind address 0.
#![no_std]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

pub use percpu_macros::def_percpu;

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

/// Copies do not share cache lines.
const ALIGN: usize = 64;

/// The first hart's copy.
static AREAS: AtomicUsize = AtomicUsize::new(0);

/// There is no memory where there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

fn section() -> usize {
    &raw const _percpu_load_start as usize
}

fn size() -> usize {
    (&raw const _percpu_load_end as usize - section()).next_multiple_of(ALIGN)
}

/// The memory that the copies of `harts` harts need.
pub fn percpu_area_layout_expected(harts: usize) -> Layout {
    let one = Layout::new::<[u8; ALIGN]>();
    Layout::from_size_align(harts * size(), ALIGN).unwrap_or(one)
}

/// Makes the copies of `harts` harts at `base`, which has room for them.
///
/// # Errors
///
/// `base` is null.
pub fn init(base: *mut u8, harts: usize) -> Result<usize, NoMemory> {
    if base.is_null() {
        return Err(NoMemory);
    }
    for hart in 0..harts {
        let copy = base.wrapping_add(hart * size());
        // SAFETY: the caller has set the room aside; the section is as large as one.
        unsafe { ptr::copy_nonoverlapping(section() as *const u8, copy, size()) };
    }
    AREAS.store(base as usize, Relaxed);
    Ok(harts)
}

/// Lets the only hart use the section itself.
///
/// # Errors
///
/// None.
pub fn init_in_place() -> Result<usize, NoMemory> {
    AREAS.store(section(), Relaxed);
    Ok(1)
}

/// Where the copy of hart `number` is.
pub fn percpu_area_base(number: usize) -> usize {
    AREAS.load(Relaxed) + number * size()
}

/// Makes the calling thread use the copy of hart `number`.
pub fn init_percpu_reg(number: usize) {
    /// `arch_prctl(2)`.
    const ARCH_SET_GS: i32 = 0x1001;

    let gs = percpu_area_base(number).wrapping_sub(section());
    // SAFETY: nothing but per-hart data uses GS in a process.
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, gs);
        SELF_PTR.write_current_raw(gs);
    }
}
