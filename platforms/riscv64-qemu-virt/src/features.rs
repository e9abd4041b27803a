//! Checks that the CPU has the features that the kernel needs, before they are used. A
//! message names a missing feature.
//!
//! The firmware itself needs multiplication, atomics and compressed instructions. Without
//! them it does not start the kernel.

use core::arch::global_asm;

/// `sstatus.FS`, state "Initial": the floating-point unit is on, and its registers have not been
/// used.
pub const FLOAT_ON: usize = 1 << 13;

global_asm!(
    "
    .section .text.features, \"ax\"
    .global check_features, missing_sv39

    // Tries an instruction of D, because the compiler may use floating-point registers
    // anywhere. s3 has the name to print.
    // Changes t0, s3, sstatus.FS, and the trap vector, which axhal sets later.
check_features:
    lla     t0, missing_feature
    csrw    stvec, t0
    lla     s3, name_of_d
    li      t0, {float_on}
    csrs    sstatus, t0
    .option push
    .option arch, +d
    fmv.d.x f0, zero
    .option pop
    ret

missing_sv39:
    lla     s3, name_of_sv39

    // Prints the name at s3 of the missing feature on the firmware's console (RISC-V SBI,
    // \"Legacy Extensions\"), and powers off (\"System Reset Extension\").
    .balign 4
missing_feature:
    lla     s4, before_name
    jal     print
    mv      s4, s3
    jal     print
    lla     s4, after_name
    jal     print
    li      a7, 0x53525354
    li      a6, 0
    li      a0, 0
    li      a1, 0
    ecall
0:  wfi
    j       0b

print:
    lbu     a0, (s4)
    beqz    a0, 1f
    li      a7, 1
    ecall
    addi    s4, s4, 1
    j       print
1:  ret

before_name:
    .asciz  \"this CPU has no \"
after_name:
    .asciz  \": riscv64 needs it\\n[exit 101]\\n\"
name_of_d:
    .asciz  \"D (floating point)\"
name_of_sv39:
    .asciz  \"Sv39 (paging)\"
    .balign 4
    ",
    float_on = const FLOAT_ON,
);
