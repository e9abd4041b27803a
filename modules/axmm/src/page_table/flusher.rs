//! What a page table requires of the code that flushes TLBs.

use core::ops::Range;

use memory_addr::PhysAddr;

/// Receives what an operation has changed or taken out of a page table. It flushes these
/// addresses from all TLBs before frames are reused, or anything relies on the change.
pub trait Flusher {
    /// Contiguous pages have been unmapped. Their frames are contiguous, from `frame` on.
    ///
    /// Returns `true` if nothing is left to do for the frames: the flusher frees them once it has
    /// flushed, or the pages do not own them. Returns `false` if they have other owners, since the
    /// flusher cannot keep such frames. Then the page table still owns them. It flushes and releases
    /// those of a large page at once. The entries of small pages keep the addresses, not present for
    /// the hardware, and the caller unmaps the range again when all is flushed.
    fn unmapped(&mut self, pages: Range<usize>, frame: PhysAddr) -> bool;

    /// Returns whether [`unmapped`](Self::unmapped) has returned `false`, so that entries of the
    /// unmapped range may not be empty.
    fn has_left_entries(&self) -> bool;

    /// Some of `pages`, which are all translated by one table, have other rights than before.
    fn changed(&mut self, pages: Range<usize>);

    /// Entries that lead to tables are not present any more. The tables stay.
    fn changed_tables(&mut self);

    /// Handles the flush requests of other harts. Loops call it every few thousand instructions.
    fn poll(&self);

    /// The table in `frame` is no longer part of the page table.
    fn detached_table(&mut self, frame: PhysAddr);

    /// Flushes `pages` before it returns. Their entries have been cleared, and are about to
    /// be written as a table of smaller pages, or as memory of another type (Arm Architecture
    /// Reference Manual, D8.16.1 "break-before-make").
    fn flush_now(&mut self, pages: Range<usize>);

    /// While it exists, this hart takes no interrupt. So no interrupt handler takes a page
    /// fault that would change the page table.
    type IrqGuard;

    /// Disables interrupts on this hart until the guard is dropped.
    fn disable_irqs(&self) -> Self::IrqGuard;

    /// Decides whether the operation may free the table that translates the addresses from
    /// `first` to `last`. It may if all of these addresses are locked for it, so that no other
    /// operation and no page fault of another hart fills the table, or if there is only one hart. Then
    /// disables interrupts until the guard is dropped: the table, if it is empty, is freed before
    /// that. Otherwise returns `None`.
    fn disable_irqs_if_exclusive(&self, first: usize, last: usize) -> Option<Self::IrqGuard>;
}
