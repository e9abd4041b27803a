//! The numbers the kernel is built with. Nothing here depends on how much
//! memory or how many harts a machine has: those are read at boot.
//!
//! The kernel half of the address space, on every machine:
//!
//! ```text
//! PHYS_VIRT_OFFSET                        KERNEL_MAP_BASE         KERNEL_MAP_END
//! |<- all physical addresses, one to one ->|<- mapped on demand ->|  ...
//!      ^ the kernel image lies in here      KERNEL_OWNED_BASE ^    ^ harts' stacks
//! ```
#![no_std]

use core::ops::Range;

/// Bytes of a page, and of a physical frame.
pub const PAGE_SIZE: usize = 4096;

/// Bytes of each hart's stack, and of a thread's that asks for no other size, without
/// the guard zone below it. `platforms/kernel.ld` sets the memory of the first hart's
/// aside; each platform's `linker.ld` names the same number.
pub const STACK_SIZE: usize = 256 * 1024;

/// The least number of bytes below every stack where nothing is ever mapped. A
/// function's frame that is not larger cannot jump over the zone.
pub const STACK_GUARD: usize = 1024 * 1024;

/// The most harts one image counts; a machine's harts beyond are left
/// asleep. Sets of harts are one 64-bit word.
pub const MAX_HARTS: usize = 64;

/// How long the first hart waits for another to come up, in nanoseconds.
pub const HART_START_TIMEOUT_NS: u64 = 2_000_000_000;

/// Where physical address 0 lies in the kernel half: `virt = phys + offset`.
///
/// Sv39's kernel half is the upper 256 GiB (RISC-V Privileged Architecture,
/// "Sv39: Page-Based 39-bit Virtual-Memory System"); half of it is for physical
/// memory. The others have 48-bit addresses.
///
/// In a process, such as a test of the kernel's modules, it is an address that is
/// free for that. Miri maps nothing at an address that is asked for, so there a test's
/// physical memory is memory of the process, by its own addresses.
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

/// Where physical memory begins in a process.
const PROCESS_PHYS: usize = 0x1800_0000_0000;

/// The first address that the kernel maps on demand; up to it lies physical
/// memory.
pub const KERNEL_MAP_BASE: usize = if cfg!(not(target_os = "none")) {
    0x2000_0000_0000
} else if cfg!(target_arch = "riscv64") {
    0xffff_ffe0_0000_0000
} else if cfg!(target_arch = "aarch64") {
    0xffff_8000_0000_0000
} else {
    0xffff_c000_0000_0000
};

/// The end of what the kernel maps: 64 GiB on Sv39, 32 TiB on the others, which is
/// as many entries of a root. Each costs a table once there are user programs, and
/// is copied into every address space of one where one root translates both halves.
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

/// The first address of the upper half of what the kernel maps on demand. What is mapped
/// there has an owner, such as a thread its stack, and is changed by that owner alone.
pub const KERNEL_OWNED_BASE: usize = KERNEL_MAP_BASE + (KERNEL_MAP_END - KERNEL_MAP_BASE) / 2;

/// The first address that user programs can have. In a process they leave what lies
/// lower to the process itself, and to an address sanitizer.
pub const USER_BASE: usize = if cfg!(not(target_os = "none")) {
    0x1100_0000_0000
} else {
    0
};

/// The end of the addresses that user programs can have: the lower half, which
/// Sv39 has 256 GiB of, and the others 128 TiB. In a process, what lies below the
/// kernel's.
pub const USER_END: usize = if cfg!(not(target_os = "none")) {
    PROCESS_PHYS
} else if cfg!(target_arch = "riscv64") {
    1 << 38
} else {
    1 << 47
};

/// Bytes from one hart's stack to the next: what one table of the lowest level maps.
pub const HART_STACK_SLOT: usize = 2 << 20;

/// The first of the addresses that are set aside for harts' stacks: the last that the
/// kernel maps. Boot page tables map them as the kernel's own does, so that a hart keeps
/// its stack when it goes from one to the other.
pub const HART_STACKS: usize = KERNEL_MAP_END - MAX_HARTS * HART_STACK_SLOT;

/// The addresses of the stack of hart `number`. It lies at the end of its slot; the rest
/// of the slot is its guard zone.
pub const fn hart_stack(number: usize) -> Range<usize> {
    let end = HART_STACKS + (number + 1) * HART_STACK_SLOT;
    end - STACK_SIZE..end
}

const _: () = assert!(HART_STACK_SLOT - STACK_SIZE >= STACK_GUARD);
const _: () = assert!(HART_STACKS.is_multiple_of(HART_STACK_SLOT));

/// The most physical memory the kernel half has room for, in bytes.
pub const MAX_PHYS: usize = KERNEL_MAP_BASE - PHYS_VIRT_OFFSET;

/// Physical addresses below this are mapped by every platform's boot page
/// table. RAM beyond is there for the kernel once it runs in its own.
pub const BOOT_MAPPED: usize = 4 << 30;
