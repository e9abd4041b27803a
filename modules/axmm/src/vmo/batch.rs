//! Taking pages away from all mappings of an object, with one flush for many address spaces.
//!
//! ```text
//!   take_next ──► Space::take      in the first address space: lock, change the page table
//!                   └─ flush ──► take_next ──► Space::take      in the second
//!                                                └─ flush ──► …
//!                                                     the last sends one request for all
//!   then each frees its empty page tables and unlocks, the last one first
//! ```
//!
//! The calls are nested, because each keeps its locks on the stack: taking pages away allocates
//! nothing and cannot fail. [`MOST`] bounds the depth, and so the stack: on riscv64 each range takes
//! some 460 bytes.
//!
//! A batch waits for other operations only while it has locked nothing. If a part of a mapping
//! cannot be locked at once, the batch ends there, and the next one begins with that part. So no
//! operation waits for a batch that waits for an operation.

use core::ops::Range;

use axconfig::PAGE_SIZE;

use super::mappings::{Mappings, Space, Visit};
use crate::addr::Pages;
use crate::machine::Machine;
use crate::tlb::gather::TlbGather;
use crate::tlb::joint::JointFlush;

/// The most parts of mappings that are flushed together.
const MOST: usize = 8;

/// What is taken from mapped pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The pages.
    All,
    /// The right to write to them.
    Write,
}

/// Parts of mappings of an object that are locked, changed and flushed together.
pub struct Batch<'a, M: Machine> {
    mappings: &'a Mappings<M>,
    /// What is taken, as offsets in the object.
    bytes: Range<usize>,
    what: Take,
    /// Where the next part begins.
    next: Position,
    /// The number of parts that are locked.
    len: usize,
    flush: JointFlush,
}

/// A place among the mappings of an object.
#[derive(Clone, Copy)]
struct Position {
    /// The next mapping is the one with the lowest record at this address or above.
    record: usize,
    /// If the next mapping's record is exactly at `record`, its pages below this address are
    /// skipped, because they have been taken already.
    ///
    /// The record may have been dropped, and that of a newer mapping made at the same address. Then
    /// pages of the newer mapping are skipped. That is correct, because its page faults come after
    /// the change of the object's state. They do not map what this batch takes.
    vaddr: usize,
}

impl<'a, M: Machine> Batch<'a, M> {
    /// Takes `pages`, page indices of an object, from all of its mappings. Returns when no hart
    /// uses an old translation. A mapping that is added meanwhile may be left out: its page faults
    /// come after the change of the object's state, and do not map what is taken.
    pub fn take(mappings: &'a Mappings<M>, pages: Range<usize>, what: Take) {
        let bytes = pages.start.saturating_mul(PAGE_SIZE)..pages.end.saturating_mul(PAGE_SIZE);
        let mut batch = Self {
            mappings,
            bytes,
            what,
            next: Position {
                record: 0,
                vaddr: 0,
            },
            len: 0,
            flush: JointFlush::new(),
        };
        let mut round = 0;
        while !batch.is_at_end() {
            // The batch is empty here, so `Space::take` waits for other operations. It fails only
            // in an interrupt handler, which must not call operations of objects.
            let has_taken = batch.take_next();
            if !has_taken && !batch.is_at_end() {
                M::relax(round);
                round += 1;
            } else {
                round = 0;
            }
            batch.len = 0;
        }
    }

    /// What is taken.
    pub fn what(&self) -> Take {
        self.what
    }

    /// Returns whether nothing is locked yet, so that the caller may wait.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flushes what `gather` has collected, together with what is taken from more mappings. Called
    /// by an address space that has changed a part, which stays locked until this returns.
    pub fn flush(&mut self, gather: &mut TlbGather<'_, M>) {
        gather.join(&mut self.flush);
        self.len += 1;
        if self.len == MOST || !self.take_next() {
            self.flush.send::<M>();
        }
    }

    /// Takes the next part, and those after it as far as they belong to this batch, and flushes.
    /// Returns `false` if no part is left, or if the next one cannot be locked at once.
    fn take_next(&mut self) -> bool {
        while let Some(visit) = self.mappings.visit_from(self.next.record) {
            let here = self.next;
            let Some((space, part)) = self.part_of(&visit) else {
                continue;
            };
            let has_taken = space.take(part, visit.record(), self);
            if !has_taken {
                self.next = here;
            }
            return has_taken;
        }
        self.next.record = usize::MAX;
        false
    }

    fn is_at_end(&self) -> bool {
        self.next.record == usize::MAX
    }

    /// Returns the next part of a mapping, and moves behind it. `None` if the mapping shows nothing
    /// that is to be taken.
    fn part_of<'v>(&mut self, visit: &'v Visit<M>) -> Option<(&'v dyn Space<M>, Pages)> {
        let record = visit.record().addr().get();
        let mut pages = visit.addresses_of(&self.bytes);
        if record == self.next.record {
            pages.start = pages.start.max(self.next.vaddr);
        }
        self.next = Position {
            record: record + 1,
            vaddr: 0,
        };
        let space = visit.space().filter(|_| !pages.is_empty())?;
        let part = space.first_part(pages.clone());
        if part.end < pages.end {
            self.next = Position {
                record,
                vaddr: part.end,
            };
        }
        Some((space, part))
    }
}
