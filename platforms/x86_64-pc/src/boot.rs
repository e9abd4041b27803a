//! The entry code: from the loader to `axplat`'s entry, with the boot page table loaded and a
//! stack.
//!
//! The loader reads the physical address of `_start` from the image's PVH note. It starts the
//! first hart there in 32-bit protected mode with paging off. `ebx` has the physical address
//! of the start info (PVH, "Boot state").

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use axconfig::{PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

use crate::boot_page_table::{self, BootPageTable, STACK_TABLES};
use crate::firmware;

/// Assembler text for 16-bit and 32-bit code. It switches to long mode with the boot page
/// table, in the order of SDM 10.8.5, "Initializing IA-32e Mode". A far jump to 64-bit code
/// must follow.
///
/// All bits of CR0 and CR4 are written, because a hart starts with its caches switched off
/// (SDM table 10-1).
macro_rules! to_long_mode {
    () => {
        "
    movl    $1 << 5, %eax                       // CR4: PAE
    movl    %eax, %cr4
    movl    $BOOT_PAGE_TABLE - {offset}, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx                   // EFER: LME
    movl    $1 << 8, %eax
    xorl    %edx, %edx
    wrmsr
    movl    $1 << 31 | 1 << 16 | 0b110001, %eax // CR0: PG, WP, NE, ET, PE
    movl    %eax, %cr0
    "
    };
}

/// Assembler text for the first 64-bit code of a hart. It loads the data segments, and the id
/// of the local APIC into `eax`. It changes `ebx`, `ecx` and `edx`.
macro_rules! segments_and_apic_id {
    () => {
        "
    movl    $16, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    // The id has 32 bits in leaf 0xb. CPUs without that leaf have 8 bits in leaf 1. Leaf 0,
    // which eax selects already, returns the largest leaf.
    cpuid
    cmpl    $0xb, %eax
    jb      8f
    movl    $0xb, %eax
    xorl    %ecx, %ecx
    cpuid
    movl    %edx, %eax
    testl   %ebx, %ebx
    jnz     9f
8:  movl    $1, %eax
    cpuid
    shrl    $24, %ebx
    movl    %ebx, %eax
9:
    "
    };
}

#[cfg(feature = "smp")]
pub(crate) use {segments_and_apic_id, to_long_mode};

global_asm!(
    "
    .section .note.Xen, \"a\", @note
    .balign 4
    .long   4, 8, 18                            // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  \"Xen\"
    .quad   _start - {offset}

    .section .text.boot, \"ax\"
    .code32
    .global _start
_start:
    // The arguments of `primary`, as two 64-bit numbers: ticks, and start info. The 64-bit
    // code below pops them.
    movl    $_stack_top - {offset}, %esp
    rdtsc
    pushl   %edx
    pushl   %eax
    pushl   $0
    pushl   %ebx

    cld
    movl    $_sbss - {offset}, %edi
    movl    $_ebss - {offset}, %ecx
    subl    %edi, %ecx
    shrl    $2, %ecx
    xorl    %eax, %eax
    rep stosl

    call    check_features
    call    build_boot_page_table
    lgdt    boot_gdt_pointer - {offset}",
    to_long_mode!(),
    "
    ljmp    $8, $(1f - {offset})

build_boot_page_table:
    // Both halves of the address space have the same table of gigabytes.
    movl    $BOOT_PAGE_TABLE - {offset} + {gigabytes} + {entry}, %eax
    movl    %eax, BOOT_PAGE_TABLE - {offset}
    movl    %eax, BOOT_PAGE_TABLE - {offset} + 256 * 8
    movl    $BOOT_PAGE_TABLE - {offset} + {gigabytes}, %edi
    movl    $BOOT_PAGE_TABLE - {offset} + {megabytes} + {entry}, %eax
    movl    $4096, %ebx
    movl    ${number}, %ecx
    call    fill_table
    movl    $BOOT_PAGE_TABLE - {offset} + {megabytes}, %edi
    movl    ${large}, %eax
    movl    $1 << 21, %ebx
    movl    ${number} * 512, %ecx
    call    fill_table
    // The tables above the harts' stacks.
    movl    $STACK_TABLES - {offset} + {entry}, BOOT_PAGE_TABLE - {offset} + 8 * {stacks_512g}
    movl    $STACK_TABLES - {offset} + 4096 + {entry}, STACK_TABLES - {offset} + 8 * {stacks_1g}
    ret

    // Fills ecx entries at edi. The first is eax, and each next one is larger by ebx. The
    // upper half of an entry stays zero.
fill_table:
    movl    %eax, (%edi)
    addl    %ebx, %eax
    addl    $8, %edi
    loop    fill_table
    ret

    .code64
1:",
    segments_and_apic_id!(),
    "
    movl    %eax, %edx
    movabsq ${offset}, %rax
    addq    %rax, %rsp
    popq    %rdi
    popq    %rsi
    xorl    %ebp, %ebp
    pushq   $0
    movabsq ${primary}, %rax
    jmp     *%rax

    // A null descriptor, 64-bit code, data. Their accessed bits are set, so that the CPU does
    // not write to the table.
    .balign 8
    .global boot_gdt
boot_gdt:
    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word   3 * 8 - 1
    .long   boot_gdt - {offset}
    ",
    offset = const PHYS_VIRT_OFFSET,
    gigabytes = const offset_of!(BootPageTable, gigabytes),
    megabytes = const offset_of!(BootPageTable, megabytes),
    number = const boot_page_table::GIGABYTES,
    entry = const boot_page_table::ENTRY,
    large = const boot_page_table::LARGE,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    primary = sym primary,
    options(att_syntax),
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(start_info: u32, ticks: u64, apic_id: u32) -> ! {
    firmware::remember_boot(start_info, ticks, apic_id);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script reserves `_stack` for the first hart, and the last table of
    // `STACK_TABLES` is for this stack only. The hart is on `_stack` already. It continues at
    // the top of the same memory, by other addresses, and may overwrite this function's frame,
    // which is no longer needed.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        boot_page_table::map_stack(StackMemory::new(0, phys(&raw const _stack), table));
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "push 0",
            "jmp {entry}",
            top = in(reg) hart_stack(0).end,
            entry = in(reg) on_own_stack as extern "C" fn(usize) -> !,
            in("rdi") start_info as usize,
            options(noreturn),
        )
    }
}

extern "C" fn on_own_stack(start_info: usize) -> ! {
    axplat::call_main(0, start_info)
}
