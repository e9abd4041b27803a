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

/// An architecture's.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub way: Way,
    /// Whether a page is forgotten under every id, or under the present one only.
    pub every_id: bool,
    pub upper: Upper,
    /// Whether an entry that is absent may be remembered.
    pub absent: bool,
    /// Whether no two pages of different sizes may be known for one address.
    pub one_size: bool,
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
    absent: false,
    one_size: false,
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
    absent: true,
    one_size: false,
    ids: 3,
};

/// Arm Architecture Reference Manual, D8.17 "TLB maintenance": VAAE1IS is for all
/// entries of the walk for an address, under every ASID; D8.16: what faults for being
/// invalid is not cached; D8.16.1 "break-before-make": two sizes may conflict.
pub const A64: Rules = Rules {
    way: Way::Broadcast,
    every_id: true,
    upper: Upper::Covering,
    absent: false,
    one_size: true,
    ids: 3,
};

/// LoongArch Reference Manual volume 1, 5.4 "TLB": software refills it, with entries
/// that are not valid, too; "INVTLB", operation 6.
pub const LA64: Rules = Rules {
    way: Way::Interrupt,
    every_id: false,
    upper: Upper::None,
    absent: true,
    one_size: false,
    ids: 3,
};
