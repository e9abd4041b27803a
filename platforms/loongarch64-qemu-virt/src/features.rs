//! Checks that the CPU has the features that the kernel needs, before they are used ("CPUCFG",
//! word 1). A message names a missing feature.
//!
//! The device tree cannot be read this early. So the message goes to the addresses of QEMU's
//! UART and power switch.

use core::arch::global_asm;

/// The transmit register of QEMU's UART.
const UART: usize = 0x1fe0_01e0;
/// QEMU's power switch, and the value that switches off.
const POWER: usize = 0x100e_001c;
const POWER_OFF: usize = 0x34;

global_asm!(
    "
    // Continues if t1 is not 0. Otherwise the feature `name` is missing.
    .macro need name
    bnez    $t1, 8f
    bl      missing_feature
    .asciz  \"\\name\"
    .balign 4
8:
    .endm

    .section .text.features, \"ax\"
    .global check_features

    // Changes t0 and t1. A 32-bit CPU has these instructions, too.
check_features:
    ori     $t0, $zero, 1
    cpucfg  $t0, $t0
    andi    $t1, $t0, 2
    need    \"LA64 (64 bits)\"
    andi    $t1, $t0, 1 << 2
    need    \"PGMMU (paging)\"
    srli.w  $t1, $t0, 12
    andi    $t1, $t1, 0xff
    sltui   $t1, $t1, 47
    xori    $t1, $t1, 1
    need    \"VALEN of 48 (addresses of 48 bits)\"
    srli.w  $t0, $t0, 16
    andi    $t1, $t0, 1 << 4
    need    \"UAL (unaligned accesses)\"
    andi    $t1, $t0, 1 << 6
    need    \"EP (execution protection)\"
    andi    $t1, $t0, 1 << 8
    need    \"HP (huge pages)\"
    ret

    // Prints the message and powers off. The name of the missing feature follows the call in
    // memory, so the return address points to it. The other texts follow calls, too.
missing_feature:
    move    $s1, $ra
    bl      0f
    .asciz  \"this CPU has no \"
    .balign 4
0:  move    $s0, $ra
    bl      print
    move    $s0, $s1
    bl      print
    bl      1f
    .asciz  \": loongarch64 needs it\\n[exit 101]\\n\"
    .balign 4
1:  move    $s0, $ra
    bl      print
    lu12i.w $t2, {power} >> 12
    ori     $t2, $t2, {power} & 0xfff
    ori     $t3, $zero, {power_off}
    st.b    $t3, $t2, 0
2:  idle    0
    b       2b

    // Prints the text at s0.
print:
    lu12i.w $t2, {uart} >> 12
    ori     $t2, $t2, {uart} & 0xfff
0:  ld.bu   $t3, $s0, 0
    beqz    $t3, 1f
    st.b    $t3, $t2, 0
    addi.w  $s0, $s0, 1
    b       0b
1:  ret
    ",
    uart = const UART,
    power = const POWER,
    power_off = const POWER_OFF,
);
