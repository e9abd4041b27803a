//! What each architecture lets a hart remember, and what its fences make it forget.

/// How a hart is made to forget by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By an interrupt, which it takes when it lets them in.
    Interrupt,
    /// By the firmware, whatever it is about.
    Firmware,
    /// All harts are, whichever are meant.
    Broadcast,
}

/// What becomes of the way to tables as one page is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// No upper entries are remembered.
    None,
    /// They stay.
    Stay,
    /// Those that lead to the page go.
    Covering,
    /// All that have the same tag go.
    Tagged,
}

/// How long a hart may remember that nothing is mapped at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It does not.
    Never,
    /// Until it takes an exception or executes a context synchronization: an access may
    /// have been translated before those in front of it were made.
    UntilSynchronized,
    /// Until it forgets the page.
    UntilForgotten,
}

/// What a hart does before it runs on a stack that has been mapped since it last did
/// (`axhal::tlb::flush_fresh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    Nothing,
    Synchronizes,
    ForgetsPages,
    ForgetsAll,
}

/// An architecture's.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub way: Way,
    /// Whether a page is forgotten under every id, or under the present one only.
    pub every_id: bool,
    pub upper: Upper,
    pub absent: Absent,
    /// Whether an entry of the TLB is for an even page and the odd one behind it.
    pub pairs: bool,
    pub fresh: Fresh,
    /// Whether no two pages of different sizes, or kinds of memory, may be known for one
    /// address.
    pub one_kind: bool,
    /// Whether instruction fetches see only what has been cleaned.
    pub cleans: bool,
    /// The largest id.
    pub ids: usize,
}

/// Intel SDM volume 3A, 5.10.2 "Translation Lookaside Buffers (TLBs)", 5.10.3
/// "Paging-Structure Caches", 5.10.4.1 "Operations that Invalidate TLBs and
/// Paging-Structure Caches": INVLPG takes all paging-structure caches of the current
/// PCID along, whatever the address; 5.10.4.3: nothing is cached of what is not present.
pub const X64: Rules = Rules {
    way: Way::Interrupt,
    every_id: false,
    upper: Upper::Tagged,
    absent: Absent::Never,
    pairs: false,
    fresh: Fresh::Nothing,
    one_kind: false,
    cleans: false,
    ids: 2,
};

/// The same without PCIDs.
pub const X64_WITHOUT_IDS: Rules = Rules { ids: 0, ..X64 };

/// RISC-V Privileged Architecture, "Supervisor Memory-Management Fence Instruction":
/// with an address the fence is for leaf entries only; implementations may cache invalid
/// ones, unless they have Svvptc.
pub const SV: Rules = Rules {
    way: Way::Firmware,
    every_id: true,
    upper: Upper::Stay,
    absent: Absent::UntilForgotten,
    pairs: false,
    fresh: Fresh::ForgetsAll,
    one_kind: false,
    cleans: false,
    ids: 3,
};

/// Arm Architecture Reference Manual, D8.17 "TLB maintenance": VAAE1IS is for all
/// entries of the walk for an address, under every ASID; D8.16: what faults for being
/// invalid is not cached, but without FEAT_ETS2 an access may be translated before those in
/// front of it; D8.16.1 "break-before-make": two sizes, or two kinds of memory, may
/// conflict; B2.4.4 "Concurrent modification and execution of instructions".
pub const A64: Rules = Rules {
    way: Way::Broadcast,
    every_id: true,
    upper: Upper::Covering,
    absent: Absent::UntilSynchronized,
    pairs: false,
    fresh: Fresh::Synchronizes,
    one_kind: true,
    cleans: true,
    ids: 3,
};

/// LoongArch Reference Manual volume 1, 5.4 "TLB": software refills it, with pairs
/// of pages, valid or not; "INVTLB", operation 6.
pub const LA64: Rules = Rules {
    way: Way::Interrupt,
    every_id: false,
    upper: Upper::None,
    absent: Absent::UntilForgotten,
    pairs: true,
    fresh: Fresh::ForgetsPages,
    one_kind: false,
    cleans: false,
    ids: 3,
};
