//! The machine's verbs: traps, the page-table root, the TLB, interrupts, harts,
//! time and power. What they are used for is decided above.
//!
//! Per-architecture code is in [`arch`], which has the same names on each of the
//! four, and in a process of Linux; what one kind of machine differs in from another
//! of the same architecture is in the platform crates, behind the traits of `axplat`
//! and `axmachine`.
//!
//! Locks: none here is held while anything above axhal runs. Harts that make one
//! another forget ([`tlb`]) need none: each answers as it waits.
#![cfg_attr(not(any(loom, shuttle)), no_std)]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(any(all(feature = "paging", feature = "smp"), loom, shuttle))]
mod atomic;
#[cfg(any(all(feature = "paging", feature = "smp"), loom, shuttle))]
mod shootdown;

// Under loom and shuttle only the part without locks is there, for its tests.
cfg_if::cfg_if! {
    if #[cfg(not(any(loom, shuttle)))] {
        pub mod arch;
        #[cfg(feature = "multitask")]
        pub mod context;
        pub mod hart;
        #[cfg(feature = "paging")]
        pub mod icache;
        #[cfg(feature = "irq")]
        pub mod irq;
        pub mod mem;
        #[cfg(feature = "paging")]
        pub mod paging;
        pub mod power;
        pub mod probe;
        pub mod threads;
        pub mod time;
        #[cfg(feature = "paging")]
        pub mod tlb;
        pub mod trap;

        #[cfg(all(target_arch = "aarch64", target_os = "none"))]
        use aarch64_qemu_virt as _;
        #[cfg(target_os = "linux")]
        use linux_host as _;
        #[cfg(all(target_arch = "loongarch64", target_os = "none"))]
        use loongarch64_qemu_virt as _;
        #[cfg(all(target_arch = "riscv64", target_os = "none"))]
        use riscv64_qemu_virt as _;
        #[cfg(all(target_arch = "x86_64", target_os = "none"))]
        use x86_64_pc as _;

        pub use axmachine::{Inventory, RawRange, boot_args, inventory};
    }
}
