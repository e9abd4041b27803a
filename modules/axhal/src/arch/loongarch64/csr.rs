//! Control and status registers.
//!
//! `csrwr` and `csrxchg` put the old value into the register that had the new one. The crate
//! `loongArch64` 0.2.6 is not used, because it tells the compiler that the register keeps its
//! value.

use core::arch::asm;

/// "Current Mode Information".
pub const CRMD: usize = 0x0;
/// "Extended Component Unit Enable".
#[cfg(feature = "uspace")]
pub const EUEN: usize = 0x2;
/// "Exception Configuration".
pub const ECFG: usize = 0x4;
/// "Exception Return Address".
#[cfg(feature = "uspace")]
pub const ERA: usize = 0x6;
/// "Exception Entry Base Address".
pub const EENTRY: usize = 0xc;
/// "Address Space Identifier".
#[cfg(feature = "paging")]
pub const ASID: usize = 0x18;
/// "Page Global Directory Base Address for Lower Half Address Space".
#[cfg(feature = "paging")]
pub const PGDL: usize = 0x19;
/// "Page Global Directory Base Address for Higher Half Address Space".
#[cfg(feature = "paging")]
pub const PGDH: usize = 0x1a;

/// Returns the value of register `CSR`.
pub fn read<const CSR: usize>() -> usize {
    let value;
    // SAFETY: reading one of the registers above has no effect.
    unsafe { asm!("csrrd {}, {}", out(reg) value, const CSR, options(nostack)) };
    value
}

/// Writes `value` to register `CSR`.
///
/// # Safety
///
/// With this value in the register, everything that runs stays right.
pub unsafe fn write<const CSR: usize>(value: usize) {
    // SAFETY: the caller says that the register may have this value.
    unsafe { asm!("csrwr {}, {}", inout(reg) value => _, const CSR, options(nostack)) };
}

/// Sets the bits `mask` of register `CSR` to those of `value`.
///
/// # Safety
///
/// With these bits in the register, everything that runs stays right.
#[inline]
pub unsafe fn write_bits<const CSR: usize>(mask: usize, value: usize) {
    // SAFETY: the caller says that the bits may have this value.
    unsafe { exchange::<CSR>(mask, value) };
}

/// Sets the bits `mask` of register `CSR` to those of `value`, and returns the register's old
/// value.
///
/// The mask is always in `$t0`: with `$zero` or `$ra` in its place the encoding is that of
/// another instruction ("CSRRD, CSRWR, CSRXCHG").
///
/// # Safety
///
/// With these bits in the register, everything that runs stays right.
#[inline]
pub unsafe fn exchange<const CSR: usize>(mask: usize, mut value: usize) -> usize {
    // SAFETY: the caller says that the bits may have this value.
    unsafe {
        asm!(
            "csrxchg {}, $t0, {}",
            inout(reg) value,
            const CSR,
            in("$t0") mask,
            options(nostack)
        )
    };
    value
}
