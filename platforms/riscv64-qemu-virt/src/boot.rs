//! From the firmware to `axplat`'s entry: a boot page table, a stack, Rust.
//!
//! The firmware starts the first hart at `_start` with paging off, the hart id
//! in `a0` and the device tree's physical address in `a1` (RISC-V SBI
//! Specification; the rest of the harts wait in the firmware until
//! `sbi_hart_start`).
//!
//! The boot page table has 1 GiB pages (Sv39): all physical memory the kernel
//! half has room for, and, one to one, the gigabyte the code runs in while
//! paging is switched on. It is left behind when the kernel loads its own.

use core::arch::global_asm;

use axconfig::PHYS_VIRT_OFFSET;

#[repr(C, align(4096))]
struct BootPageTable([u64; 512]);

#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable([0; 512]);

/// Valid, readable, writable, executable, accessed and dirty: a boot page has
/// every right, for as long as there is no other page table.
const BOOT_PAGE: u64 = 0b1100_1111;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global _start
_start:
    mv      s0, a0
    mv      s1, a1
    rdtime  s2
    call    check_features

    lla     t0, _sbss
    lla     t1, _ebss
0:  sd      zero, (t0)
    addi    t0, t0, 8
    bltu    t0, t1, 0b

    // The upper half of the root: physical gigabytes 0, 1, ...
    lla     t0, BOOT_PAGE_TABLE
    li      t2, 256 * 8
    add     t1, t0, t2
    add     t2, t2, t1
    li      t3, {boot_page}
    li      t4, 1 << 28
0:  sd      t3, (t1)
    add     t3, t3, t4
    addi    t1, t1, 8
    bltu    t1, t2, 0b
    // One to one: the gigabyte this code runs in.
    lla     t1, _start
    srli    t1, t1, 30
    slli    t2, t1, 3
    add     t2, t2, t0
    slli    t1, t1, 28
    ori     t1, t1, {boot_page}
    sd      t1, (t2)

    mv      a0, s0
    mv      a1, s1
    mv      a2, s2
    lla     sp, _stack_top
    lla     t0, {primary}
    j       enter_high_half

    .global _start_secondary
_start_secondary:
    // a0: hart id, a1: physical address of the top of its stack
    mv      sp, a1
    lla     t0, {secondary}

enter_high_half:
    // t0: where to go, as a physical address; sp likewise
    lla     t1, BOOT_PAGE_TABLE
    srli    t1, t1, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    // A mode that the hart does not have leaves the register as it was.
    csrr    t2, satp
    bne     t1, t2, missing_sv39
    sfence.vma
    li      t1, {offset}
    add     sp, sp, t1
    add     t0, t0, t1
    li      s0, 0
    li      ra, 0
    jr      t0
    ",
    boot_page = const BOOT_PAGE,
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

/// Maps the GiB from physical address `paddr` on in the lower half, for reading what
/// the kernel half has no room for, and returns where `paddr` is in it.
///
/// # Safety
///
/// The boot page table is in use, and by no other hart. The address is good until the
/// next call.
pub unsafe fn window(paddr: usize) -> *const u8 {
    /// Entries of the root that nothing else uses: the one-to-one map has the gigabyte
    /// that the image is in, which is the third.
    const FIRST: usize = 4;
    let gigabyte = paddr >> 30;
    // SAFETY: the caller's promise; what the entries map is not accessed otherwise.
    // Forgetting translations breaks nothing.
    unsafe {
        for n in 0..2 {
            BOOT_PAGE_TABLE.0[FIRST + n] = ((gigabyte + n) << 28) as u64 | BOOT_PAGE;
        }
        core::arch::asm!("sfence.vma", options(nostack));
    }
    ((FIRST << 30) | (paddr & ((1 << 30) - 1))) as *const u8
}

extern "C" fn primary(hart_id: usize, device_tree: usize, ticks: u64) -> ! {
    crate::machine::remember_boot(hart_id, device_tree, ticks);
    axplat::call_main(0, device_tree)
}

extern "C" fn secondary(hart_id: usize) -> ! {
    #[cfg(feature = "smp")]
    if let Some(cpu_id) = axmachine::cpu_of(hart_id) {
        axplat::call_secondary_main(cpu_id)
    }
    // Without `smp` nobody starts another hart, and none that is not listed.
    let _ = hart_id;
    crate::power::park()
}
