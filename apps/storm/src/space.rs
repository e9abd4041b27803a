//! The address spaces of the storm. All calls to an address space are in this file.
//!
//! No lock is held around a call, so that several harts operate on one address space at the same
//! time.

use alloc::boxed::Box;
use core::ops::Deref;

use axstd::memory::{
    AxResult, Grain, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, MappingFlags, SharedAspace, USER_BASE,
    VirtAddrRange, kernel_aspace, new_user_aspace,
};
use spin::{Mutex, MutexGuard};

/// The number of bytes that a page table of the lowest level translates.
pub const TABLE: usize = 2 << 20;

/// Half the number of addresses in the kernel's address space that need no owner.
const KERNEL_HALF: usize = (KERNEL_OWNED_BASE - KERNEL_MAP_BASE) / 2;

/// The size of a user's address space in bytes.
const USER_SIZE: usize = 64 << 30;

/// How a mapping gets its frames.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Whether all frames are allocated at once, or each at the first touch.
    pub populate: bool,
    /// How much one page fault maps.
    pub grain: Grain,
}

/// An address space of the storm.
pub enum Space {
    /// The kernel's address space, which is always active.
    Kernel,
    /// A user's address space, which a hart must enter.
    User(Box<SharedAspace>),
}

/// Whether a hart has a child of an address space. There is one at a time, because each can take as
/// many frames as its parent.
static HAS_CHILD: Mutex<()> = Mutex::new(());

/// A child of a user's address space. It is dropped before another one can be made.
pub struct Child {
    space: Space,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Child {
    type Target = Space;

    fn deref(&self) -> &Space {
        &self.space
    }
}

impl Space {
    /// Returns a new, empty address space of a user.
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

    /// Returns the first address that the storm uses. [`TABLE`] bytes above it is a boundary:
    /// between two page tables of every level but the highest, and between two shards where an
    /// address space has several.
    pub fn base(&self) -> usize {
        match self {
            Self::Kernel => KERNEL_MAP_BASE + KERNEL_HALF - TABLE,
            Self::User(_) => USER_BASE + USER_SIZE / 2 - TABLE,
        }
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User(_) => "user",
        }
    }

    /// Forks a user's address space. Returns `None` in the kernel's, and while another hart has a
    /// child.
    pub fn fork(&self) -> Option<AxResult<Child>> {
        let Self::User(parent) = self else {
            return None;
        };
        let turn = HAS_CHILD.try_lock()?;
        let child = parent.fork();
        let child = child.map(|child| Self::User(Box::new(SharedAspace::new(child))));
        Some(child.map(|space| Child { space, _turn: turn }))
    }

    /// Maps `size` bytes from `start` on to fresh frames.
    pub fn map(&self, start: usize, size: usize, flags: MappingFlags, kind: Kind) -> AxResult {
        self.shared()
            .map_alloc_with(start.into(), size, flags, kind.populate, kind.grain)
    }

    /// Unmaps what is mapped in `size` bytes from `start` on.
    pub fn unmap(&self, start: usize, size: usize) -> AxResult {
        self.shared().unmap(start.into(), size)
    }

    /// Changes the rights of `size` mapped bytes from `start` on.
    pub fn protect(&self, start: usize, size: usize, flags: MappingFlags) -> AxResult {
        self.shared().protect(start.into(), size, flags)
    }

    /// Copies from the address space into `bytes`.
    pub fn read(&self, start: usize, bytes: &mut [u8]) -> AxResult {
        self.shared().read(start.into(), bytes)
    }

    /// Copies `bytes` into the address space.
    pub fn write(&self, start: usize, bytes: &[u8]) -> AxResult {
        self.shared().write(start.into(), bytes)
    }

    /// Returns whether `size` bytes from `start` on have no area.
    pub fn is_empty(&self, start: usize, size: usize) -> bool {
        let range = VirtAddrRange::from_start_size(start.into(), size);
        self.shared().find_free_area(start.into(), size, range) == Some(start.into())
    }

    /// Runs `work` while the hart is in this address space.
    pub fn inside<R>(&self, work: impl FnOnce() -> R) -> AxResult<R> {
        match self {
            Self::Kernel => Ok(work()),
            Self::User(space) => space.run(work),
        }
    }
}
