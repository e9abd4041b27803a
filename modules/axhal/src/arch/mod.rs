//! The four architectures, and a process of Linux, each under the same names.
//!
//! | name | what it does |
//! |---|---|
//! | `init_trap` | points this hart's trap vector at the kernel's |
//! | `TrapFrame` | the registers of what was interrupted; `pc`, `set_pc`, `Display` |
//! | `capture` | the caller's own registers, for a panic's report |
//! | `enable_irqs`, `disable_irqs`, `irqs_enabled` | this hart's interrupts as a whole |
//! | `IrqsOff` | keeps this hart's interrupts out as long as it lives |
//! | `wait_for_irqs` | called with interrupts off: sleeps until one is pending, lets it in, and returns with them off |
//! | `halt` | sleeps for ever, deaf |
//! | `TIMER_IRQ`, `IPI_IRQ` | the interrupt numbers of this hart's timer and of other harts' calls |
//! | `probe_read`, `probe_write`, `probe_execute` | one access, and whether it faulted |
//! | `probe_copy` | copies bytes, up to the first access that faults |
//! | `init_zeroing`, `zero_pages` | chooses the machine's fastest way to zero pages; zeroes them |
//! | `SAVED`, `RETURN`, `switch_stacks` | from one thread to another: what a call preserves, on the stack |
//! | `Float` | the floating-point registers, if code for this machine may use any |
//! | `PagingMeta`, `Pte` | the page table's format |
//! | `ONE_ROOT` | whether one root page table translates both halves |
//! | `largest_page` | bytes of the largest page the machine has |
//! | `publish_entries` | page-table entries written before are seen by every hart's walker after |
//! | `page_mark` | bits of every page's entry, by whether it is the kernel's |
//! | `max_asid` | the largest id of an address space |
//! | `claim_user` | waits for the lower half, where all harts share one |
//! | `enter_user`, `leave_user` | the page table that the lower half is translated by, and the address space's id |
//! | `flush_asid`, `flush_all_asids` | forget an address space, or all, on this hart |
//! | `FORGETS_EVERYWHERE` | whether the next two reach every hart |
//! | `read_root`, `write_root` | the page table the kernel half is translated by |
//! | `flush_tlb_page`, `flush_tlb_all` | forget on this hart |
//! | `flush_fresh` | flush on this hart what it may hold of pages from before they were mapped |
//! | `remote_flush` | forget on other harts without interrupting them, where the machine can |
//! | `needs_cleaning`, `clean_code` | whether data caches keep code from instruction fetches; write it back |
//! | `fetch_anew`, `remote_fetch_anew` | drop the instructions that this hart, or others, have fetched |

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
