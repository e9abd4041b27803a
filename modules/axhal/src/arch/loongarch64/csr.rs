//! Control and status registers.
//!
//! `csrwr` and `csrxchg` put the old value into the register that the new one
//! came in. (The crate `loongArch64` 0.2.6 tells the compiler that they leave it
//! as it was, which is why it is not used.)

use core::arch::asm;

/// "Current Mode Information".
pub const CRMD: usize = 0x0;
/// "Exception Configuration".
pub const ECFG: usize = 0x4;
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

/// Reads register `CSR`.
pub fn read<const CSR: usize>() -> usize {
    let value;
    // SAFETY: reading one of the registers above changes nothing.
    unsafe { asm!("csrrd {}, {}", out(reg) value, const CSR, options(nostack)) };
    value
}

/// Writes register `CSR`.
///
/// # Safety
///
/// The register may have this value.
pub unsafe fn write<const CSR: usize>(value: usize) {
    // SAFETY: the caller's promise.
    unsafe { asm!("csrwr {}, {}", inout(reg) value => _, const CSR, options(nostack)) };
}

/// Sets the bits `mask` of register `CSR` to those of `value`.
///
/// The register of the mask is named: `$zero` and `$ra` there make it another
/// instruction ("CSRRD, CSRWR, CSRXCHG").
///
/// # Safety
///
/// The bits may have this value.
#[inline]
pub unsafe fn write_bits<const CSR: usize>(mask: usize, value: usize) {
    // SAFETY: the caller's promise.
    unsafe { exchange::<CSR>(mask, value) };
}

/// As [`write_bits`], and answers what the register was before.
///
/// # Safety
///
/// As for [`write_bits`].
#[inline]
pub unsafe fn exchange<const CSR: usize>(mask: usize, mut value: usize) -> usize {
    // SAFETY: the caller's promise.
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
