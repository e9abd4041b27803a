//! What a faulting access was: its address, and what it wanted to do.

use core::fmt;

use bitflags::bitflags;
use memory_addr::VirtAddr;

bitflags! {
    /// The kind of a memory access.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// A data read.
        const READ = 1;
        /// A data write.
        const WRITE = 2;
        /// An instruction fetch.
        const EXECUTE = 4;
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match *self {
            Self::WRITE => "write to",
            Self::EXECUTE => "instruction fetch at",
            _ => "read of",
        })
    }
}

/// An access that the page table did not allow.
#[derive(Clone, Copy, Debug)]
pub struct PageFault {
    /// The accessed virtual address.
    pub addr: VirtAddr,
    /// The kind of the access.
    pub access: Access,
}
