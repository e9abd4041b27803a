//! What the TLB of each architecture may keep, and what its flushes drop.

/// How a hart makes other harts flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shootdown {
    /// By an interrupt. The other hart flushes when it takes it.
    Interrupt,
    /// By the firmware. The other hart flushes at once.
    Firmware,
    /// By an instruction that makes all harts flush, the selected ones and the others.
    Broadcast,
}

/// What a flush of one page does to cached pointers to page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkCache {
    /// Harts cache no such pointers.
    None,
    /// All pointers stay.
    Kept,
    /// The pointers on the way to the page are dropped.
    Covering,
    /// All pointers with the same ASID are dropped.
    SameAsid,
}

/// How long a TLB may keep the result of a walk that found no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// It does not keep such results.
    Never,
    /// Until the hart takes an exception or executes a context synchronization. An access
    /// may be translated before earlier accesses are made.
    UntilSynchronized,
    /// Until the page is flushed.
    UntilFlushed,
}

/// What a hart does before a thread first runs on a new stack (`axhal::tlb::flush_fresh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewStack {
    /// It does nothing.
    Nothing,
    /// It executes a context synchronization.
    Synchronizes,
    /// It flushes the pages of the stack.
    FlushesPages,
    /// It flushes the whole TLB.
    FlushesAll,
}

/// The rules of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub shootdown: Shootdown,
    /// Whether a flush of a page drops its entries with every ASID. Otherwise it drops those
    /// with the present one, and the global ones.
    pub flushes_all_asids: bool,
    pub walk_cache: WalkCache,
    pub negative: Negative,
    /// Whether a TLB entry holds an even page and the odd page above it.
    pub pairs: bool,
    pub new_stack: NewStack,
    /// Whether a TLB must not hold two entries for one address with different page sizes or
    /// kinds of memory. The old page must then be flushed before the new one is mapped.
    pub must_break: bool,
    /// Whether instruction fetches see only code that has been cleaned.
    pub needs_cleaning: bool,
    /// The largest ASID. 0 if the architecture has no ASIDs.
    pub max_asid: usize,
}

/// Intel SDM volume 3A:
///
/// - 5.10.2 "Translation Lookaside Buffers (TLBs)", 5.10.3 "Paging-Structure Caches".
/// - 5.10.4.1 "Operations that Invalidate TLBs and Paging-Structure Caches": INVLPG drops all
///   paging-structure caches of the current PCID, whatever the address.
/// - 5.10.4.3: a page that is not present is not cached.
pub const X64: Rules = Rules {
    shootdown: Shootdown::Interrupt,
    flushes_all_asids: false,
    walk_cache: WalkCache::SameAsid,
    negative: Negative::Never,
    pairs: false,
    new_stack: NewStack::Nothing,
    must_break: false,
    needs_cleaning: false,
    max_asid: 2,
};

/// x86-64 processors without PCIDs.
pub const X64_WITHOUT_PCIDS: Rules = Rules { max_asid: 0, ..X64 };

/// RISC-V Privileged Architecture, "Supervisor Memory-Management Fence Instruction": a fence
/// with an address is for leaf entries only. Implementations may cache invalid entries,
/// unless they have Svvptc.
pub const SV: Rules = Rules {
    shootdown: Shootdown::Firmware,
    flushes_all_asids: true,
    walk_cache: WalkCache::Kept,
    negative: Negative::UntilFlushed,
    pairs: false,
    new_stack: NewStack::FlushesAll,
    must_break: false,
    needs_cleaning: false,
    max_asid: 3,
};

/// Arm Architecture Reference Manual:
///
/// - D8.17 "TLB maintenance": VAAE1IS drops all entries of the walk for an address, with
///   every ASID.
/// - D8.16: an invalid entry is not cached. Without FEAT_ETS2, an access may be translated
///   before earlier accesses are made.
/// - D8.16.1 "break-before-make": two page sizes, or two kinds of memory, may conflict.
/// - B2.4.4 "Concurrent modification and execution of instructions".
pub const A64: Rules = Rules {
    shootdown: Shootdown::Broadcast,
    flushes_all_asids: true,
    walk_cache: WalkCache::Covering,
    negative: Negative::UntilSynchronized,
    pairs: false,
    new_stack: NewStack::Synchronizes,
    must_break: true,
    needs_cleaning: true,
    max_asid: 3,
};

/// LoongArch Reference Manual volume 1, 5.4 "TLB": software refills the TLB with pairs of
/// pages, valid or not. "INVTLB", operation 6.
pub const LA64: Rules = Rules {
    shootdown: Shootdown::Interrupt,
    flushes_all_asids: false,
    walk_cache: WalkCache::None,
    negative: Negative::UntilFlushed,
    pairs: true,
    new_stack: NewStack::FlushesPages,
    must_break: false,
    needs_cleaning: false,
    max_asid: 3,
};
