//! Switches from exception level 2 to level 1, where the kernel runs. A machine with level 2
//! starts each hart there, and the kernel never returns to it.

use core::arch::global_asm;

use aarch64_cpu::registers::{CNTHCTL_EL2, HCR_EL2, SPSR_EL2};

/// `SCTLR_EL1` with the MMU and the caches off. The set bits are those that always read as 1
/// on a CPU without the later features LSMAOE, nTLSMD, SPAN, EIS, TSCXT and EOS.
pub const SCTLR_MMU_OFF: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;

/// `CPTR_EL2` without traps: the set bits are those that always read as 1.
const CPTR: u64 = 0x33ff;
/// `CNTHCTL_EL2`: level 1 may read the counter and set its timer.
const CNTHCTL: u64 = CNTHCTL_EL2::EL1PCEN::SET.value | CNTHCTL_EL2::EL1PCTEN::SET.value;
/// `ICC_SRE_EL2`: the interrupt controller has system registers, and level 1 may use them.
const ICC_SRE: u64 = 0b1001;
/// `SPSR_EL2`: level 1 with its own stack pointer, all exceptions masked.
const SPSR: u64 = SPSR_EL2::M::EL1h.value
    | SPSR_EL2::D::Masked.value
    | SPSR_EL2::A::Masked.value
    | SPSR_EL2::I::Masked.value
    | SPSR_EL2::F::Masked.value;

global_asm!(
    "
    .section .text.el2, \"ax\"
    .global leave_el2
leave_el2:
    // Returns at level 1 with the MMU off. Changes x9 and x10.
    mrs     x9, CurrentEL
    cmp     x9, #2 << 2
    b.ne    1f
    // Level 1 runs without traps, without a second stage of translation, and without an offset
    // of its counter.
    ldr     x9, ={hcr}
    msr     hcr_el2, x9
    mov     x9, #{cptr}
    msr     cptr_el2, x9
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mov     x9, #{cnthctl}
    msr     cnthctl_el2, x9
    msr     cntvoff_el2, xzr
    mrs     x9, midr_el1
    msr     vpidr_el2, x9
    mrs     x9, mpidr_el1
    msr     vmpidr_el2, x9
    // If the CPU has the system registers of a GICv3, level 1 may use them.
    mrs     x9, id_aa64pfr0_el1
    ubfx    x9, x9, #24, #4
    cbz     x9, 0f
    mrs     x9, icc_sre_el2
    mov     x10, #{icc_sre}
    orr     x9, x9, x10
    msr     icc_sre_el2, x9
    isb
0:  ldr     x9, ={sctlr}
    msr     sctlr_el1, x9
    mov     x9, #{spsr}
    msr     spsr_el2, x9
    msr     elr_el2, x30
    eret
1:  ret
    .ltorg
    ",
    hcr = const HCR_EL2::RW::EL1IsAarch64.value,
    cptr = const CPTR,
    cnthctl = const CNTHCTL,
    icc_sre = const ICC_SRE,
    sctlr = const SCTLR_MMU_OFF,
    spsr = const SPSR,
);
