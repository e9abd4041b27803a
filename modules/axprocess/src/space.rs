//! Address spaces of user programs.
//!
//! ```text
//!   0x1000       BASE: an access to a lower address is always a fault
//!   ...          the program's segments, and what it maps
//!   STACK_TOP    the end of the stack, of STACK_SIZE bytes. Nothing is mapped for it below that
//!   USER_END
//! ```

use core::ops::Deref;
use core::pin::Pin;

use axconfig::USER_END;
use axerrno::AxResult;
use axmm::{AddrSpace, MappingFlags, Resident, SharedAspace, Sharing, new_user_aspace, vmo::Vmo};
use axtask::Shared;
use memory_addr::{PAGE_SIZE_4K, VirtAddr};

/// The first address of a program's address space.
const BASE: usize = PAGE_SIZE_4K;

/// The end of a program's address space. The last page is left out: on x86_64 the address behind a
/// system call there would not be canonical.
const END: usize = USER_END - PAGE_SIZE_4K;

/// The end of a program's stack.
pub const STACK_TOP: usize = USER_END - (1 << 20);

/// The bytes of a program's stack. They get frames as they are used.
pub const STACK_SIZE: usize = 1 << 20;

const STACK_FLAGS: MappingFlags = MappingFlags::READ
    .union(MappingFlags::WRITE)
    .union(MappingFlags::USER);

/// A program's address space. The kernel is mapped in it, too, where one page table translates all
/// addresses, but not for the program.
#[derive(Clone)]
pub struct UserSpace(Shared<SharedAspace>);

impl UserSpace {
    /// Makes an address space without mappings.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new() -> AxResult<Self> {
        let space = new_user_aspace(BASE.into(), END - BASE)?;
        Ok(Self(Shared::try_new(SharedAspace::new(space))?))
    }

    /// Makes an address space with the same contents. Each side sees only its own writes, except in
    /// shared mappings. See [`AddrSpace::fork_into`].
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn fork(&self) -> AxResult<Self> {
        let child = Self::new()?;
        self.0.fork_into(child.pinned())?;
        Ok(child)
    }

    /// Maps the stack.
    ///
    /// # Errors
    ///
    /// `NoMemory`. `AlreadyExists` if something is mapped there.
    pub fn map_stack(&self) -> AxResult {
        let bottom = VirtAddr::from_usize(STACK_TOP - STACK_SIZE);
        self.0.map_alloc(bottom, STACK_SIZE, STACK_FLAGS, false)
    }

    /// Maps a copy of the memory object `object` at `start`: what the program writes there, it alone
    /// sees.
    ///
    /// # Errors
    ///
    /// Those of [`AddrSpace::map_object`].
    pub fn map_copy(&self, start: VirtAddr, object: &Vmo, flags: MappingFlags) -> AxResult {
        let (size, flags) = (object.len(), flags | MappingFlags::USER);
        self.pinned()
            .map_object(start, size, flags, object, 0, Sharing::Private)
    }

    /// Returns how much memory is mapped.
    pub fn resident_total(&self) -> Resident {
        self.0.resident(axmm::VirtAddrRange {
            start: self.0.base(),
            end: self.0.end(),
        })
    }

    fn pinned(&self) -> Pin<&AddrSpace> {
        let space: &AddrSpace = &self.0;
        // SAFETY: a `Shared` never moves its value, nor gives it away.
        unsafe { Pin::new_unchecked(space) }
    }
}

impl Deref for UserSpace {
    type Target = SharedAspace;

    fn deref(&self) -> &SharedAspace {
        &self.0
    }
}
