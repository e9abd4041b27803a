//! What the CPU must have, checked before anything needs it, and named where it is
//! missing ("CPUCFG", word 1). The device tree cannot be read before that: console and
//! power switch are QEMU's, by their addresses.

use core::arch::global_asm;

/// The transmit register of QEMU's UART.
const UART: usize = 0x1fe0_01e0;
/// QEMU's power switch, and what to write there.
const POWER: usize = 0x100e_001c;
const POWER_OFF: usize = 0x34;

global_asm!(
    "
    // Goes on if t1 is not 0, or else names what the CPU lacks.
    .macro need name
    bnez    $t1, 8f
    bl      missing_feature
    .asciz  \"\\name\"
    .balign 4
8:
    .endm

    .section .text.features, \"ax\"
    .global check_features

    // Changes t0 and t1. These are instructions that a 32-bit CPU has too.
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

    // The name of what the CPU lacks stands behind the call of this, as other texts
    // behind those that lead over them.
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
