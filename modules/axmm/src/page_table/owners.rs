//! What page tables require of frames that have several owners.

use axerrno::AxResult;
use memory_addr::PhysAddr;
use page_table_multiarch::PagingHandler;

/// Frames whose owners are counted, one by one. The entry of a page owns the frame if the page is in
/// an area that owns its frames (`Backend::owns_frames`). Each entry that leads to a
/// table owns the frame of the table.
///
/// The owners of the zero frame are not counted: sharing or releasing it does nothing, and it is never
/// exclusive.
pub trait FrameOwners: PagingHandler {
    /// Adds an owner to each of `count` contiguous frames.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if a frame cannot have more owners. Then nothing has changed.
    fn share(frame: PhysAddr, count: usize) -> AxResult;

    /// Adds an owner to the frame of a table. A fork calls this for each shared table, so it handles a
    /// single frame only, which is not the zero frame.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if the frame cannot have more owners.
    fn share_table(frame: PhysAddr) -> AxResult;

    /// Returns whether each of `count` contiguous frames has one owner. Only an owner adds another. So
    /// if the caller keeps that owner from being shared, the frames stay exclusive.
    fn is_exclusive(frame: PhysAddr, count: usize) -> bool;

    /// Drops an owner of the frame of a table. Returns whether it was the last. In that case the
    /// frame is not freed: the caller owns it exclusively, and frees it.
    fn release_table(frame: PhysAddr) -> bool;

    /// Drops an owner of each of `count` contiguous frames, and frees those that had no other. The
    /// caller has made sure that no TLB holds a translation to them by the entries that owned them.
    fn release_pages(frame: PhysAddr, count: usize);
}
