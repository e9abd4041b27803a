//! The constants that the kernel is built with. The size of memory and the number of harts
//! are not among them: they are read at boot.
//!
//! The kernel half of the address space has this layout on every machine:
//!
//! ```text
//! PHYS_VIRT_OFFSET       KERNEL_MAP_BASE   KERNEL_OWNED_BASE   HART_STACKS   KERNEL_MAP_END
//! |                      |                 |                   |             |
//! |<- linear mapping: -->|<---- mapped on demand ------------->|<- harts' -->|
//! |   all physical       |                 |  pages that have  |   stacks    |
//! |   addresses, the     |                 |  an owner         |             |
//! |   kernel image       |                 |                   |             |
//! ```
//!
//! A mapping that has an owner is changed only by that owner, such as the thread whose stack
//! it is.
#![no_std]

use core::ops::Range;

/// The size in bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;

/// The size in bytes of each hart's stack, and the default size of a thread's stack. The
/// guard zone below a stack is not included.
///
/// `platforms/kernel.ld` reserves the memory of the first hart's stack. Each platform's
/// `linker.ld` contains the same number.
pub const STACK_SIZE: usize = 256 * 1024;

/// The least size in bytes of the guard zone below every stack, where nothing is ever
/// mapped. A function whose stack frame is at most this large cannot reach beyond the zone.
pub const STACK_GUARD: usize = 1024 * 1024;

/// The largest number of harts that an image uses. Further harts of a machine stay asleep.
/// A set of harts is one 64-bit word.
pub const MAX_HARTS: usize = 64;

/// How long the first hart waits for another hart to come up, in nanoseconds.
pub const HART_START_TIMEOUT_NS: u64 = 2_000_000_000;

/// The virtual address of physical address 0 in the linear mapping: `virt = phys + offset`.
///
/// Sv39's kernel half is the upper 256 GiB (RISC-V Privileged Architecture, "Sv39:
/// Page-Based 39-bit Virtual-Memory System"). Half of it is for physical memory. The other
/// architectures have 48-bit addresses.
///
/// In a process, such as a test of the kernel's modules, it is an address that Linux leaves
/// free. Miri cannot map memory at a given address. There a test's physical addresses are
/// the process's own addresses.
pub const PHYS_VIRT_OFFSET: usize = if cfg!(miri) {
    0
} else if cfg!(not(target_os = "none")) {
    PROCESS_PHYS
} else if cfg!(target_arch = "riscv64") {
    0xffff_ffc0_0000_0000
} else if cfg!(target_arch = "aarch64") {
    0xffff_0000_0000_0000
} else {
    0xffff_8000_0000_0000
};

/// The first address of the linear mapping in a process.
const PROCESS_PHYS: usize = 0x1800_0000_0000;

/// The first address that the kernel maps on demand, which is the end of the linear mapping.
pub const KERNEL_MAP_BASE: usize = if cfg!(not(target_os = "none")) {
    0x2000_0000_0000
} else if cfg!(target_arch = "riscv64") {
    0xffff_ffe0_0000_0000
} else if cfg!(target_arch = "aarch64") {
    0xffff_8000_0000_0000
} else {
    0xffff_c000_0000_0000
};

/// The end of the addresses that the kernel maps: 64 GiB from [`KERNEL_MAP_BASE`] on Sv39,
/// 32 TiB on the other machines, 10 TiB in a process.
///
/// On a machine that is 64 entries of the root page table. Once there are user programs, each
/// entry has a table of its own. Where one root translates both the user's
/// and the kernel's addresses, each entry is also copied into every user address space.
pub const KERNEL_MAP_END: usize = if cfg!(not(target_os = "none")) {
    0x2a00_0000_0000
} else {
    KERNEL_MAP_BASE
        + if cfg!(target_arch = "riscv64") {
            64 << 30
        } else {
            32 << 40
        }
};

/// The first address of the upper half of the range that the kernel maps on demand. Every
/// mapping there has an owner, for example the thread whose stack it is. Only the owner
/// changes it.
pub const KERNEL_OWNED_BASE: usize = KERNEL_MAP_BASE + (KERNEL_MAP_END - KERNEL_MAP_BASE) / 2;

/// The first address that user programs can use. In a process, lower addresses belong to the
/// process itself and to an address sanitizer.
pub const USER_BASE: usize = if cfg!(not(target_os = "none")) {
    0x1100_0000_0000
} else {
    0
};

/// The end of the addresses that user programs can use. That is the end of the lower half:
/// 256 GiB on Sv39, 128 TiB on the other machines. In a process it is the start of the
/// linear mapping.
pub const USER_END: usize = if cfg!(not(target_os = "none")) {
    PROCESS_PHYS
} else if cfg!(target_arch = "riscv64") {
    1 << 38
} else {
    1 << 47
};

/// The distance in bytes from one hart's stack to the next: the range that one table of the
/// lowest level maps.
pub const HART_STACK_SLOT: usize = 2 << 20;

/// The first of the addresses that are reserved for harts' stacks, at the end of the range
/// that the kernel maps. The boot page tables and the kernel's own map them alike, so a hart
/// keeps its stack when it switches page tables.
pub const HART_STACKS: usize = KERNEL_MAP_END - MAX_HARTS * HART_STACK_SLOT;

/// Returns the addresses of the stack of hart `number`. The stack is at the end of its slot.
/// The rest of the slot is its guard zone.
pub const fn hart_stack(number: usize) -> Range<usize> {
    let end = HART_STACKS + (number + 1) * HART_STACK_SLOT;
    end - STACK_SIZE..end
}

const _: () = assert!(HART_STACK_SLOT - STACK_SIZE >= STACK_GUARD);
const _: () = assert!(HART_STACKS.is_multiple_of(HART_STACK_SLOT));

/// The size in bytes of the linear mapping, which limits physical memory.
pub const MAX_PHYS: usize = KERNEL_MAP_BASE - PHYS_VIRT_OFFSET;

/// The end of the physical addresses that every platform's boot page table maps. RAM above
/// it can be used once the kernel has loaded its own page table.
pub const BOOT_MAPPED: usize = 4 << 30;
