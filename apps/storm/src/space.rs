//! The address spaces that the storm goes through, and every call on one: here, and
//! nowhere else.
//!
//! No lock is held around a call: harts work on one address space side by side.

use alloc::boxed::Box;

use axstd::memory::{
    AxResult, Grain, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, MappingFlags, SharedAspace, USER_BASE,
    VirtAddrRange, kernel_aspace, new_user_aspace,
};

/// Where the storm's addresses begin, a table's worth before an edge between page tables of
/// any level but the highest, and, where address spaces have several shards, between two.
const BEFORE_EDGE: usize = 2 << 20;

/// Half of the addresses that anybody may map in the kernel's address space.
const KERNEL_HALF: usize = (KERNEL_OWNED_BASE - KERNEL_MAP_BASE) / 2;

/// Bytes of a user's address space.
const USER_SIZE: usize = 64 << 30;

/// How a mapping gets its frames.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// All now, or each when it is first touched.
    pub populate: bool,
    /// How much a page fault brings.
    pub grain: Grain,
}

/// An address space.
pub enum Space {
    /// The kernel's, which every hart is always in.
    Kernel,
    /// A user's, which a hart enters.
    User(Box<SharedAspace>),
}

impl Space {
    /// A new user's, empty.
    pub fn new_user() -> AxResult<Self> {
        let space = new_user_aspace((USER_BASE + (1 << 30)).into(), USER_SIZE)?;
        Ok(Self::User(Box::new(SharedAspace::new(space))))
    }

    fn shared(&self) -> &SharedAspace {
        match self {
            Self::Kernel => kernel_aspace(),
            Self::User(space) => space,
        }
    }

    /// The first address that the storm uses.
    pub fn base(&self) -> usize {
        match self {
            Self::Kernel => KERNEL_MAP_BASE + KERNEL_HALF - BEFORE_EDGE,
            Self::User(_) => USER_BASE + USER_SIZE / 2 - BEFORE_EDGE,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel's",
            Self::User(_) => "user's",
        }
    }

    /// Maps fresh pages.
    pub fn map(&self, start: usize, size: usize, flags: MappingFlags, kind: Kind) -> AxResult {
        self.shared()
            .map_alloc_with(start.into(), size, flags, kind.populate, kind.grain)
    }

    /// Unmaps whatever is there.
    pub fn unmap(&self, start: usize, size: usize) -> AxResult {
        self.shared().unmap(start.into(), size)
    }

    /// Changes the rights of what is there.
    pub fn protect(&self, start: usize, size: usize, flags: MappingFlags) -> AxResult {
        self.shared().protect(start.into(), size, flags)
    }

    /// Copies out of it.
    pub fn read(&self, start: usize, bytes: &mut [u8]) -> AxResult {
        self.shared().read(start.into(), bytes)
    }

    /// Copies into it.
    pub fn write(&self, start: usize, bytes: &[u8]) -> AxResult {
        self.shared().write(start.into(), bytes)
    }

    /// Whether nothing is mapped in `size` bytes from `start` on.
    pub fn is_empty(&self, start: usize, size: usize) -> bool {
        let range = VirtAddrRange::from_start_size(start.into(), size);
        self.shared().find_free_area(start.into(), size, range) == Some(start.into())
    }

    /// Runs `work` where the addresses are this address space's.
    pub fn inside<R>(&self, work: impl FnOnce() -> R) -> AxResult<R> {
        match self {
            Self::Kernel => Ok(work()),
            Self::User(space) => space.run(work),
        }
    }
}
