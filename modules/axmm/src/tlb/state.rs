//! The TLB state of an address space: which harts may hold its translations, and under which
//! ASID.
//!
//! A hart that is inside the address space flushes a change at once, when it is requested to.
//! All other harts flush when they enter next. So a hart is never disturbed for an address
//! space that it is not in.
//!
//! # Why no hart uses a stale translation
//!
//! ```text
//!   a hart that changes the table        a hart that enters
//!   ─────────────────────────────        ──────────────────
//!   writes the entries                   sets its bit in `inside`
//!   sets all bits of `stale`             clears its bit in `stale`; flushes if it was set
//!   reads `inside`, sends requests       on leaving: clears its bit in `inside`
//!   to these harts
//! ```
//!
//! Each access to `inside` and `stale` is SeqCst, so all harts agree on their order. Either the
//! entering hart sets its bit in `inside` before the changing hart reads it, and gets a
//! request; or it finds its bit in `stale` set. Many harts may change the table at the same
//! time: each sets all bits of `stale`, and a bit is cleared only by the hart that it belongs
//! to.
//!
//! A hart that got a request keeps its bit in `stale`, and flushes once more than necessary
//! when it enters again. The changing hart may not clear that bit: the other hart may have
//! left before it got the request, and then it needs the bit.
//!
//! The changing hart waits only until the requested harts have flushed. The entering hart waits
//! for no other hart.

use super::asid::{AsidAllocator, asid, generation};
use crate::atomic::{AtomicU64, Ordering::SeqCst};

/// The bits of all harts.
const ALL_HARTS: u64 = u64::MAX;

/// What a hart must flush from its TLB as it enters an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOnEntry {
    /// Nothing: all that the TLB holds is valid.
    Nothing,
    /// The translations under the ASID of the address space.
    Asid,
    /// The translations under all ASIDs.
    Everything,
}

/// What the TLBs of harts may hold of one address space.
pub struct TlbState {
    /// Whether the address space is the kernel's, which all harts are always in.
    kernel: bool,
    /// The generation and the ASID in one word (see [`AsidAllocator`]); 0 before the first hart
    /// enters.
    id: AtomicU64,
    /// A bit for each hart that is in the address space.
    inside: AtomicU64,
    /// A bit for each hart that must flush when it enters next.
    stale: AtomicU64,
}

impl TlbState {
    /// Returns the state of the kernel's address space, which all harts are always in.
    pub fn kernel() -> Self {
        Self::new(true)
    }

    /// Returns the state of a user program's address space, which no hart has entered.
    pub fn user() -> Self {
        Self::new(false)
    }

    fn new(kernel: bool) -> Self {
        Self {
            kernel,
            id: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// Returns whether the address space is the kernel's.
    pub fn is_kernel(&self) -> bool {
        self.kernel
    }

    /// Records that `hart` enters the address space. `generation_seen` is the generation of
    /// the last address space that it entered, and is updated. Returns the ASID, and what the
    /// hart must flush.
    ///
    /// Until the hart has flushed and uses the ASID, it takes no interrupts and handles no
    /// flush requests. A request flushes the ASID that the hart uses when it handles the request,
    /// and until then that is the ASID of another address space.
    ///
    /// # Safety
    ///
    /// `hart` is the hart that runs this, and flushes what is returned.
    /// `generation_seen` is the value that its last call left there, or 0 before the first.
    pub unsafe fn enter(
        &self,
        asids: &AsidAllocator,
        hart: usize,
        generation_seen: &mut u64,
    ) -> (usize, FlushOnEntry) {
        // SeqCst, both: the module's head says how these two pair with `shoot_down`.
        self.inside.fetch_or(1 << hart, SeqCst);
        let is_stale = self.stale.fetch_and(!(1 << hart), SeqCst) >> hart & 1 != 0;
        let id = self.current_id(asids);
        let flush = if generation(id) != *generation_seen {
            *generation_seen = generation(id);
            FlushOnEntry::Everything
        } else if is_stale || asids.is_without_asids() {
            // Without ASIDs, the TLB may hold translations of the address space left before.
            FlushOnEntry::Asid
        } else {
            FlushOnEntry::Nothing
        };
        (asid(id), flush)
    }

    /// Records that `hart` has left the address space.
    ///
    /// # Safety
    ///
    /// `hart` is the hart that runs this, and no longer translates by the address space.
    pub unsafe fn leave(&self, hart: usize) {
        // SeqCst: a later change that does not find the bit relies on `stale` instead.
        self.inside.fetch_and(!(1 << hart), SeqCst);
    }

    /// Returns whether any hart has entered the address space and not left it.
    pub fn has_harts_inside(&self) -> bool {
        self.inside.load(SeqCst) != 0
    }

    /// Returns the set of harts that are inside, one bit each. A hart may enter or leave meanwhile.
    pub fn harts_inside(&self) -> u64 {
        match self.kernel {
            true => ALL_HARTS,
            false => self.inside.load(SeqCst),
        }
    }

    /// Makes all harts drop what they hold of a part of the page table that has changed.
    /// `flush` gets the set of harts that are inside, one bit each, and returns when all of
    /// them have flushed that part. All other harts flush when they enter next. Several harts
    /// may call this at the same time.
    pub fn shoot_down(&self, flush: impl FnOnce(u64)) {
        match self.mark_stale() {
            0 => {}
            inside => flush(inside),
        }
    }

    /// Marks a part of the page table as changed. Returns the set of harts that are inside, one bit
    /// each. The caller makes these flush that part before it frees anything. All other harts flush
    /// when they enter next.
    pub fn mark_stale(&self) -> u64 {
        if self.kernel {
            return ALL_HARTS;
        }
        // SeqCst, both: the module's head says how these two pair with `enter`.
        self.stale.store(ALL_HARTS, SeqCst);
        self.inside.load(SeqCst)
    }

    /// Returns the id of the address space, a new one if the old one is of a generation that
    /// has ended.
    fn current_id(&self, asids: &AsidAllocator) -> u64 {
        loop {
            let id = self.id.load(SeqCst);
            if asids.is_current(id) {
                return id;
            }
            let new = asids.allocate();
            // If this fails, another hart has entered and stored an id, which is used then.
            if self.id.compare_exchange(id, new, SeqCst, SeqCst).is_ok() {
                return new;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, shuttle))]
mod schedules;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
