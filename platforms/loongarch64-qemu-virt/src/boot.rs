//! From QEMU to `axplat`'s entry: a boot page table, a stack, Rust.
//!
//! QEMU starts the first hart at `_start`, untranslated, with the physical
//! addresses of the command line in `a1` and of the EFI system table in `a2`.
//! The other harts wait in its boot ROM for an interrupt, and go on at the
//! address in their mailbox 0; in mailbox 1 is the top of their stack.
//!
//! ```text
//! root ── 256: gigabytes ─┬─ 0: megabytes ─┬─ 0 to 127     RAM, cached
//!                         │                └─ 128 to 511   devices, uncached
//!                         ├─ 1                             devices, uncached
//!                         └─ 2 to 511                      RAM, cached
//!      └─ 447: one table ── 511: one table ── a table a hart: its stack
//! ```
//!
//! So the boot page table has the first 512 GiB of physical memory, in pages of
//! 2 MiB and 1 GiB, and harts' stacks in pages of 4 KiB at addresses of their own, with
//! nothing below them; there is no identity map, and no direct mapping window. It
//! is left behind when the kernel loads its own. The hardware does not walk it:
//! axhal's trap vector refills the TLB from it.

use core::arch::{asm, global_asm};

use axconfig::{PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

/// The tables of the drawing, bottom up, as the entry code fills them.
#[repr(C, align(4096))]
struct BootPageTable {
    megabytes: [u64; 512],
    gigabytes: [u64; 512],
    root: [u64; 512],
}

#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable {
    megabytes: [0; 512],
    gigabytes: [0; 512],
    root: [0; 512],
};

/// The two tables between the root and those of harts' stacks, and the first hart's own.
static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// Valid, dirty, huge, present, writable, for privilege level 0, of memory type
/// "strongly-ordered uncached" ("Page Table Entry Formats"): a boot page has
/// every right, for as long as there is no other page table.
const DEVICE: u64 = 0b1_1100_0011;
/// The same of memory type "coherent cached".
const RAM: u64 = DEVICE | CACHED;
const CACHED: u64 = 1 << 4;
/// What makes a page of a higher level's entry.
const HUGE: u64 = 1 << 6;

/// `CRMD`: untranslated, privilege level 0, no interrupts, and memory is
/// coherent cached, for instructions and data ("Current Mode Information").
/// Translated memory has the type its page table entry says.
const UNTRANSLATED: u64 = 0b1010_1000;

global_asm!(
    "
    .equ    CRMD, 0x0
    .equ    ASID, 0x18
    .equ    PGDL, 0x19
    .equ    PGDH, 0x1a
    .equ    STLBPS, 0x1e
    .equ    TLBRENTRY, 0x88
    .equ    TLBRERA, 0x8a
    .equ    TLBRPRMD, 0x8f
    .equ    DMW, 0x180
    .equ    MAILBOX_1, 0x1028

    .section .text.boot, \"ax\"
    .global _start
_start:
    bl      check_features
    rdtime.d $s0, $zero
    ori     $t0, $zero, {untranslated}
    csrwr   $t0, CRMD

    la.pcrel $t0, _sbss
    la.pcrel $t1, _ebss
0:  st.d    $zero, $t0, 0
    addi.d  $t0, $t0, 8
    bltu    $t0, $t1, 0b

    // Megabytes 0, 2, 4, ...: RAM, then devices.
    la.pcrel $t0, BOOT_PAGE_TABLE
    move    $s1, $t0
    ori     $t1, $zero, {ram}
    lu12i.w $t2, 0x200
    ori     $t3, $zero, 128
    bl      fill
    addi.d  $t1, $t1, -{cached}
    ori     $t3, $zero, 512 - 128
    bl      fill
    // Gigabytes 0, 1, 2, ...: the table just filled, devices, RAM.
    move    $s2, $t0
    st.d    $s1, $t0, 0
    st.d    $t1, $t0, 8
    addi.d  $t0, $t0, 16
    lu12i.w $t2, 0x40000
    add.d   $t1, $t1, $t2
    addi.d  $t1, $t1, {cached}
    ori     $t3, $zero, 512 - 2
    bl      fill
    // The lower half of the root is empty; the upper begins with the gigabytes.
    addi.d  $t0, $t0, 2040
    st.d    $s2, $t0, 2048 - 2040
    // Harts' stacks.
    la.pcrel $t1, {stack_tables}
    st.d    $t1, $t0, 8 * {stacks_512g} - 2040
    la.pcrel $t2, {stack_tables} + 4096
    st.d    $t2, $t2, 8 * {stacks_1g} - 4096

    move    $a0, $a1
    move    $a1, $a2
    move    $a2, $s0
    la.abs  $sp, _stack_top
    la.abs  $t0, {primary}
    b       enter_high_half

fill:
    // t0: where, t1: the first entry, t2: what the next one has more, t3: how many
    st.d    $t1, $t0, 0
    add.d   $t1, $t1, $t2
    addi.d  $t0, $t0, 8
    addi.d  $t3, $t3, -1
    bnez    $t3, fill
    ret

    .global _start_secondary
_start_secondary:
    ori     $t0, $zero, {untranslated}
    csrwr   $t0, CRMD
    lu12i.w $t0, MAILBOX_1 >> 12
    ori     $t0, $t0, MAILBOX_1 & 0xfff
    iocsrrd.d $sp, $t0
    li.d    $t0, {offset}
    add.d   $sp, $sp, $t0
    la.abs  $t0, {secondary}

enter_high_half:
    // t0: where to go
    csrwr   $zero, DMW + 0
    csrwr   $zero, DMW + 1
    csrwr   $zero, DMW + 2
    csrwr   $zero, DMW + 3
    csrwr   $zero, ASID
    csrwr   $zero, PGDL
    la.pcrel $t1, BOOT_PAGE_TABLE + 2 * 4096
    csrwr   $t1, PGDH
    ori     $t1, $zero, 12
    csrwr   $t1, STLBPS
    la.pcrel $t1, trap_vector
    csrwr   $t1, TLBRENTRY
    invtlb  0, $zero, $zero
    // A return from the refill of a TLB, which never happened, switches
    // translation on and jumps, in one.
    csrwr   $zero, TLBRPRMD
    ori     $t0, $t0, 1
    csrwr   $t0, TLBRERA
    move    $fp, $zero
    move    $ra, $zero
    ertn
    ",
    untranslated = const UNTRANSLATED,
    ram = const RAM,
    cached = const CACHED,
    stack_tables = sym STACK_TABLES,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(command_line: usize, system_table: usize, ticks: u64) -> ! {
    crate::machine::remember_boot(command_line, system_table, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script has set the stack aside for the first hart, and the
    // table is only this stack's. Nothing on the stack in use is needed any more when
    // the hart goes on at the top of the same memory.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        map_stack(StackMemory::new(0, phys(&raw const _stack), table));
        asm!(
            "move $sp, {top}",
            "jr {entry}",
            top = in(reg) hart_stack(0).end,
            entry = in(reg) on_own_stack as extern "C" fn() -> !,
            options(noreturn),
        )
    }
}

extern "C" fn on_own_stack() -> ! {
    axplat::call_main(0, 0)
}

/// Maps a hart's stack in the boot page table. An entry that leads to a table is its bare
/// address.
pub fn map_stack(memory: StackMemory) {
    let to_page = |paddr: usize| paddr as u64 | (RAM & !HUGE);
    // SAFETY: only the first hart changes the boot page table, before it starts another.
    unsafe { memory.map(&raw mut STACK_TABLES[1], to_page, |paddr| paddr as u64) };
}

extern "C" fn secondary() -> ! {
    #[cfg(feature = "smp")]
    crate::secondary::come();
    // Without `smp` nobody starts another hart, and none that is not listed.
    crate::power::park()
}
