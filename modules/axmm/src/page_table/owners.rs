//! What page tables require of frames that have several owners.

use axerrno::AxResult;
use memory_addr::PhysAddr;
use page_table_multiarch::PagingHandler;

/// Frames whose owners are counted, one by one. The entry of a private page owns its frame. Each
/// entry that leads to a table owns the frame of the table.
pub trait FrameOwners: PagingHandler {
    /// Adds an owner to each of `count` contiguous frames.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if a frame cannot have more owners. Then nothing has changed.
    fn share(frame: PhysAddr, count: usize) -> AxResult;

    /// Adds an owner to the frame of a table.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if the frame cannot have more owners.
    fn share_table(frame: PhysAddr) -> AxResult;

    /// Returns whether each of `count` contiguous frames has one owner. It stays so: only an owner
    /// adds another.
    fn is_exclusive(frame: PhysAddr, count: usize) -> bool;

    /// Drops an owner of the frame of a table. Returns whether it was the last. Then the frame is
    /// the caller's alone, who frees it.
    fn release_table(frame: PhysAddr) -> bool;

    /// Drops an owner of each of `count` contiguous frames, and frees those that had no other. No
    /// TLB holds a translation to them.
    fn release_pages(frame: PhysAddr, count: usize);
}
