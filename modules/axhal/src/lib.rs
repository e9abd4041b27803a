//! The machine: traps, the page-table root, the TLB, interrupts, harts, time and power.
//!
//! axhal only carries out what the modules above it decide. Per-architecture code is in
//! [`arch`], which has the same names on each of the four architectures and in a Linux
//! process. Differences between machines of one architecture are in the platform crates,
//! behind the traits of `axplat` and `axmachine`.
//!
//! A file uses only files of the lines below its own:
//!
//! ```text
//!   startup                                starts harts
//!   trap_entry  user_entry                 where the hardware enters the kernel
//!   uspace                                 user mode
//!   trap                                   page faults, interrupts, exceptions
//!   power                                  the end of the machine
//!   threads  irq  wait  icache             preemption; handlers; waiting; new code
//!   time  tlb                              the clock; flushes on all harts
//!   mem  ipi  probe  paging  context       what one hart does for itself
//!   hart  arch  shootdown                  numbers; instructions; the flush protocol
//!   access  atomic                         types
//! ```
//!
//! `trap_entry` is the part of an architecture that calls upward: the hardware enters it,
//! and it calls [`trap`]. Its file is in the architecture's folder, beside those of
//! [`arch`], but it is a module of its own. So there is no import cycle. One dependency is
//! not an import: the assembly of the entries reads variables of [`hart`] by their symbols.
//!
//! Locks: axhal holds no lock while code of another module runs. The shootdown protocol
//! ([`tlb`]) needs no lock: each hart acknowledges requests as it waits.
#![cfg_attr(not(any(loom, shuttle)), no_std)]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(any(all(feature = "paging", feature = "smp"), loom, shuttle))]
mod atomic;
#[cfg(any(all(feature = "paging", feature = "smp"), loom, shuttle))]
mod shootdown;

// Under loom and shuttle only the shootdown protocol is compiled, for its tests.
cfg_if::cfg_if! {
    if #[cfg(not(any(loom, shuttle)))] {
        mod access;
        pub mod arch;
        #[cfg(feature = "multitask")]
        pub mod context;
        pub mod hart;
        #[cfg(feature = "paging")]
        pub mod icache;
        #[cfg(feature = "irq")]
        mod ipi;
        #[cfg(feature = "irq")]
        pub mod irq;
        pub mod mem;
        #[cfg(feature = "paging")]
        pub mod paging;
        pub mod power;
        pub mod probe;
        pub mod startup;
        pub mod threads;
        pub mod time;
        #[cfg(feature = "paging")]
        pub mod tlb;
        pub mod trap;
        #[cfg_attr(target_os = "linux", path = "arch/host/trap_entry.rs")]
        #[cfg_attr(
            all(target_arch = "riscv64", target_os = "none"),
            path = "arch/riscv64/trap_entry.rs"
        )]
        #[cfg_attr(
            all(target_arch = "x86_64", target_os = "none"),
            path = "arch/x86_64/trap_entry.rs"
        )]
        #[cfg_attr(
            all(target_arch = "aarch64", target_os = "none"),
            path = "arch/aarch64/trap_entry.rs"
        )]
        #[cfg_attr(
            all(target_arch = "loongarch64", target_os = "none"),
            path = "arch/loongarch64/trap_entry.rs"
        )]
        mod trap_entry;
        #[cfg(all(feature = "uspace", target_os = "none"))]
        #[cfg_attr(target_arch = "riscv64", path = "arch/riscv64/user_entry.rs")]
        #[cfg_attr(target_arch = "x86_64", path = "arch/x86_64/user_entry.rs")]
        #[cfg_attr(target_arch = "aarch64", path = "arch/aarch64/user_entry.rs")]
        #[cfg_attr(target_arch = "loongarch64", path = "arch/loongarch64/user_entry.rs")]
        mod user_entry;
        #[cfg(all(feature = "uspace", target_os = "none"))]
        pub mod uspace;
        pub mod wait;

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
