//! The four architectures, and a Linux process, under the same names.
//!
//! | name | what it does |
//! |---|---|
//! | `TrapFrame` | the registers of interrupted code; `pc`, `set_pc`, `Display` |
//! | `capture` | returns the caller's own registers, for a panic's report |
//! | `enable_irqs`, `disable_irqs`, `irqs_enabled` | all interrupts of this hart |
//! | `IrqsOff` | a guard that keeps this hart's interrupts off while it exists |
//! | `wait_for_irqs` | called with interrupts off: sleeps until one is pending, takes it, and returns with interrupts off |
//! | `halt` | sleeps for ever, with interrupts off |
//! | `TIMER_IRQ`, `IPI_IRQ` | the interrupt numbers of this hart's timer and of other harts' interrupts |
//! | `probe_read`, `probe_write`, `probe_execute` | try one access, and return whether it was possible |
//! | `probe_copy` | copies bytes, up to the first access that faults |
//! | `init_zeroing`, `zero_pages` | choose the machine's fastest way to zero pages; zero pages |
//! | `switch_stacks` | switches between threads; it saves on the stack the registers that a call preserves |
//! | `SAVED_WORDS`, `RETURN_WORD` | how many words that switch saves; which of them says where the thread continues |
//! | `Float` | the floating-point registers, if code for this machine may use any |
//! | `PagingMeta`, `Pte` | the page table's format |
//! | `ONE_ROOT` | whether one root page table translates both halves of the addresses |
//! | `largest_page` | returns the bytes of the largest page the machine has |
//! | `publish_entries` | makes page-table entries that were written before it visible to every hart's walker |
//! | `page_mark` | returns the bits by which entries of the kernel's pages differ from those of other pages |
//! | `max_asid` | returns the largest ASID |
//! | `claim_user` | waits for the lower half, where all harts share one |
//! | `enter_user`, `leave_user` | set or clear the page table of the lower half, and its ASID |
//! | `flush_asid`, `flush_all_asids` | flush one address space, or all, on this hart |
//! | `read_root`, `write_root` | the page table that translates the kernel half |
//! | `flush_tlb_page`, `flush_tlb_all` | flush a page, or everything, on this hart |
//! | `FLUSHES_EVERY_HART` | whether these two flush on every hart |
//! | `MAX_PAGE_FLUSHES` | above how many pages it is cheaper to flush everything |
//! | `flush_fresh` | flushes on this hart what it may hold of pages from before they were mapped |
//! | `remote_flush` | flushes on other harts without interrupting them, where the machine can |
//! | `UserRegisters` | the registers of a user program; a trap entry stores and loads most of them |
//! | `needs_cleaning`, `clean_code` | whether data caches hide code from instruction fetches; writes code back |
//! | `refetch_instructions`, `remote_refetch_instructions` | make this hart, or others, drop the instructions that they have fetched |
//!
//! The trap entries are not in this module, although their files are in the same folders:
//! they call upward ([`trap_entry`](crate::trap_entry)).

#[cfg(all(feature = "uspace", target_os = "none", not(target_arch = "riscv64")))]
mod extended;
#[cfg(feature = "paging")]
mod flush_range;
#[cfg(all(feature = "uspace", target_os = "none"))]
mod user_registers;
// riscv64 alone has floating-point registers to save.
#[cfg(all(
    feature = "multitask",
    any(target_os = "linux", not(target_arch = "riscv64"))
))]
mod no_float;

#[cfg(feature = "paging")]
pub(crate) use flush_range::flush_range;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod host;
        pub use self::host::*;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        pub use self::riscv64::*;
    } else if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub use self::x86_64::*;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub use self::aarch64::*;
    } else if #[cfg(target_arch = "loongarch64")] {
        mod loongarch64;
        pub use self::loongarch64::*;
    }
}
