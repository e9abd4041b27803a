//! Checks that the CPU has the feature that the kernel needs, before it is used. A message
//! names it if it is missing.
//!
//! The device tree cannot be read before paging is on. So the message goes to the address of
//! QEMU's UART.

use core::arch::global_asm;

/// The data register of QEMU's UART.
const UART: usize = 0x0900_0000;
/// PSCI's `SYSTEM_OFF` (DEN0022, 5.10).
const SYSTEM_OFF: usize = 0x8400_0008;

global_asm!(
    "
    .section .text.features, \"ax\"
    .global check_features

    // ID_AA64MMFR0_EL1.TGran4 is negative on a CPU without pages of 4 KiB.
check_features:
    mrs     x9, id_aa64mmfr0_el1
    tbnz    x9, #31, missing_feature
    ret

missing_feature:
    adr     x9, message
    mov     x10, #{uart}
0:  ldrb    w11, [x9], #1
    cbz     w11, 1f
    strb    w11, [x10]
    b       0b
1:  ldr     x0, ={system_off}
    // QEMU handles PSCI as a hypervisor, or as level 3 if the machine has level 2.
    mrs     x9, CurrentEL
    cmp     x9, #2 << 2
    b.eq    2f
    hvc     #0
2:  smc     #0
3:  wfi
    b       3b
    .ltorg

message:
    .asciz  \"this CPU has no TGran4 (pages of 4 KiB): aarch64 needs it\\n[exit 101]\\n\"
    .balign 4
    ",
    uart = const UART,
    system_off = const SYSTEM_OFF,
);
