//! From the loader to `axplat`'s entry: a boot page table, a stack, Rust.
//!
//! The loader starts the first hart at `_start`, whose physical address it
//! reads from the image's PVH note, in 32-bit protected mode with paging off and
//! the address of the start info in `ebx` (PVH, "Boot state").
//!
//! The boot page table has pages of 2 MiB: `BOOT_MAPPED` bytes of physical memory
//! in the kernel half and, by the same tables, one to one, for the instructions
//! around the switch to 64 bits. Harts' stacks have pages of 4 KiB at addresses of
//! their own, with nothing below them. The first hart leaves the table behind when
//! the kernel loads its own; every other hart comes up through it.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use axconfig::{BOOT_MAPPED, PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

/// How many tables it takes to map that much in pages of 2 MiB.
const GIGABYTES: usize = BOOT_MAPPED >> 30;

/// An entry of each table maps as much as the table's name says.
#[repr(C, align(4096))]
struct BootPageTable {
    root: [u64; 512],
    gigabytes: [u64; 512],
    megabytes: [[u64; 512]; GIGABYTES],
}

#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable {
    root: [0; 512],
    gigabytes: [0; 512],
    megabytes: [[0; 512]; GIGABYTES],
};

/// The two tables between the root and those of harts' stacks, and the first hart's own.
#[unsafe(no_mangle)]
static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// Present and writable: a table, or a 4 KiB page, which has every right, as all
/// boot pages, for as long as there is no other page table.
const ENTRY: u64 = 0b11;
/// The same of a 2 MiB page.
const LARGE: u64 = 1 << 7 | ENTRY;

/// Assembler text, for 16-bit and 32-bit code alike: switches to long mode with
/// the boot page table, in the order that SDM 10.8.5, "Initializing IA-32e
/// Mode", gives; a far jump to 64-bit code must follow.
///
/// CR0 and CR4 are written as a whole: a hart that has just been started has its
/// caches switched off (SDM table 10-1).
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

/// Assembler text, the first 64-bit code of a hart: loads the data segments, and
/// the local APIC's id into `eax`. Uses `ebx`, `ecx`, `edx`.
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
    // The id has 32 bits in leaf 0xb, and 8 in leaf 1 of CPUs without it.
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
    // What `primary` is given, to be popped in 64-bit mode.
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
    // Both halves of the address space: the same gigabytes.
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
    // Harts' stacks.
    movl    $STACK_TABLES - {offset} + {entry}, BOOT_PAGE_TABLE - {offset} + 8 * {stacks_512g}
    movl    $STACK_TABLES - {offset} + 4096 + {entry}, STACK_TABLES - {offset} + 8 * {stacks_1g}
    ret

    // ecx entries at edi: eax, and then ebx more each. The upper half of an
    // entry stays zero.
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

    // Accessed already, so that nobody writes to it: code for 64 bits, data.
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
    number = const GIGABYTES,
    entry = const ENTRY,
    large = const LARGE,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    primary = sym primary,
    options(att_syntax),
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(start_info: u32, ticks: u64, apic_id: u32) -> ! {
    crate::machine::remember_boot(start_info, ticks, apic_id);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script has set the stack aside for the first hart, and the
    // table is only this stack's. Nothing on the stack in use is needed any more when
    // the hart goes on at the top of the same memory.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        map_stack(StackMemory::new(0, phys(&raw const _stack), table));
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

/// Maps a hart's stack in the boot page table.
pub fn map_stack(memory: StackMemory) {
    let entry = |paddr: usize| paddr as u64 | ENTRY;
    // SAFETY: only the first hart changes the boot page table, before it starts another.
    unsafe { memory.map(&raw mut STACK_TABLES[1], entry, entry) };
}
