//! Checks that the CPU has the features that the kernel needs, in 32-bit mode before they are
//! used (SDM volume 2, "CPUID"). A message names a missing feature.

use core::arch::global_asm;

use axconfig::PHYS_VIRT_OFFSET;

/// COM1's transmit register, its line status register, and the bit of the status that is set
/// when COM1 takes another byte.
const COM1: u16 = 0x3f8;
const COM1_STATUS: u16 = 0x3fd;
const CAN_SEND: u8 = 1 << 5;

/// The port of QEMU's `isa-debug-exit`, and the exit status of a failure.
const DEBUG_EXIT: u16 = 0xf4;
const FAILED: u8 = 101;

global_asm!(
    "
    .section .text.features, \"ax\"
    .code32
    .global check_features

    // Checks each entry of `features`. Changes all registers except esp and ebp.
check_features:
    movl    $0x80000000, %eax
    cpuid
    xorl    %edi, %edi
    cmpl    $0x80000001, %eax
    jb      0f
    movl    $0x80000001, %eax
    cpuid
    movl    %edx, %edi
0:  movl    $1, %eax
    cpuid
    movl    $features - {offset}, %esi
1:  lodsb
    testb   %al, %al
    jz      4f
    movl    %edx, %ecx
    testb   $32, %al
    jz      2f
    movl    %edi, %ecx
2:  movzbl  %al, %eax
    btl     %eax, %ecx
    jnc     missing_feature
3:  lodsb
    testb   %al, %al
    jnz     3b
    jmp     1b
4:  ret

    // Prints the name at esi of the missing feature on COM1 and ends the machine. Without a
    // debug port the hart halts.
missing_feature:
    movl    %esi, %edi
    movl    $before_name - {offset}, %esi
    call    print
    movl    %edi, %esi
    call    print
    movl    $after_name - {offset}, %esi
    call    print
    movb    ${failed}, %al
    movl    ${debug_exit}, %edx
    outb    %al, %dx
0:  cli
    hlt
    jmp     0b

print:
    movl    ${com1_status}, %edx
0:  inb     %dx, %al
    testb   ${can_send}, %al
    jz      0b
    lodsb
    testb   %al, %al
    jz      1f
    movl    ${com1}, %edx
    outb    %al, %dx
    jmp     print
1:  ret

before_name:
    .asciz  \"this CPU has no \"
after_name:
    .asciz  \": x86_64 needs it\\n[exit 101]\\n\"

    // For each feature its bit of EDX and its name. The bit is that of leaf 1; with 32 added
    // it is that of leaf 0x80000001.
features:
    .byte   32 + 29
    .asciz  \"LM (long mode, 64 bits)\"
    .byte   32 + 20
    .asciz  \"NX (execute disable)\"
    .byte   5
    .asciz  \"MSR\"
    .byte   6
    .asciz  \"PAE\"
    .byte   8
    .asciz  \"CX8\"
    .byte   9
    .asciz  \"APIC\"
    .byte   15
    .asciz  \"CMOV\"
    .byte   0
    .code64
    ",
    offset = const PHYS_VIRT_OFFSET,
    com1 = const COM1,
    com1_status = const COM1_STATUS,
    can_send = const CAN_SEND,
    debug_exit = const DEBUG_EXIT,
    failed = const FAILED,
    options(att_syntax),
);
