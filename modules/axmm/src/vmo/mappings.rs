//! The shared mappings of an object. Through this list the object takes pages away from address
//! spaces. A private mapping has a record as well, which keeps its snapshot, but is in no list.
//!
//! ```text
//!   Object ─► Mappings ─► Mapping ─► Space     an address space, and where it shows the object
//!     ▲                      │ ▲
//!     └──────────────────────┘ └── the backend of areas
//! ```
//!
//! An operation that takes pages away has three steps:
//!
//! 1. With the state locked, the pages leave the object's tree. From now on a page request does not
//!    find them.
//! 2. With the state unlocked, [`unmap`](Mappings::unmap) removes them from address spaces, in
//!    [batches](super::batch). Their frames are still allocated.
//! 3. The frames are freed.
//!
//! A page fault enters a page in a page table while it reads the state or has locked it, and with its
//! fault slot taken. So it comes before step 1, and step 2 waits for the slot; or it does not find
//! the page.
//!
//! A snapshot first shares the tree with the state locked, and then calls
//! [`write_protect`](Mappings::write_protect). A page request that copies a page calls
//! `write_protect` before it reads the page, because a snapshot may be between these two steps.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, Range};
use core::ptr::{self, NonNull};

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};

use super::Vmo;
use super::batch::{Batch, Take};
use super::lock::StateLock;
use crate::addr::Pages;
use crate::atomic::{AtomicUsize, Ordering};
use crate::boxed::boxed;
use crate::machine::Machine;

/// An address space that maps objects.
pub trait Space<M: Machine> {
    /// Returns the start of `pages`, as far as it lies in one shard. [`take`](Self::take) is called
    /// for such parts, since it locks a range of one shard.
    fn first_part(&self, pages: Pages) -> Pages;

    /// Unmaps `part`, or makes it read-only, as far as it still belongs to the mapping whose record
    /// is at `mapping`. `batch` says what is taken, and flushes it. The caller holds no locks
    /// but the ranges of the batch and, most often, the object's turn.
    ///
    /// Returns whether it has. If not, nothing has changed: the part could not be locked at once,
    /// and the batch is not [empty](Batch::is_empty).
    fn take(&self, part: Pages, mapping: NonNull<()>, batch: &mut Batch<'_, M>) -> bool;
}

/// A part of an object that an address space shows.
pub struct Mapping<M: Machine> {
    /// The object, or the snapshot of it that a private mapping shows.
    pub object: Vmo<M>,
    /// The addresses of the mapping when it was made. Parts may have been unmapped since.
    addresses: Pages,
    /// The offset in the object of the first address, in bytes.
    offset: usize,
    /// The address space of a shared mapping.
    space: Option<NonNull<dyn Space<M>>>,
    /// The bytes that are still mapped.
    mapped: AtomicUsize,
    /// The number of harts that use the record, its object or its address space although the mapping
    /// may end meanwhile. The record of an ended mapping is dropped once this is 0
    /// ([`drop_list`](Self::drop_list)).
    visitors: AtomicUsize,
    /// The next of the records that one operation has ended ([`unmapped`](Self::unmapped)).
    next: Option<NonNull<Mapping<M>>>,
}

/// The shared mappings of an object.
pub struct Mappings<M: Machine> {
    all: StateLock<M, Vec<NonNull<Mapping<M>>>>,
    /// The length of `all`, read without the lock, so that an object without mappings does not lock
    /// it.
    count: AtomicUsize,
}

// SAFETY: the records in the list are used by any hart, under the lock or with a visitor counted.
unsafe impl<M: Machine> Send for Mappings<M> {}
// SAFETY: the lock gives the list to one hart at a time.
unsafe impl<M: Machine> Sync for Mappings<M> {}

impl<M: Machine> Mappings<M> {
    /// The mappings of a new object.
    pub fn new() -> Self {
        Self {
            all: StateLock::new(Vec::new()),
            count: AtomicUsize::new(0),
        }
    }

    /// Returns whether the object has a shared mapping.
    pub fn is_mapped(&self) -> bool {
        self.all.with(|all| !all.is_empty())
    }

    /// Unmaps `pages`, a range of page indices of the object, in every address space. Returns
    /// when no hart can access their former frames.
    pub fn unmap(&self, pages: Range<usize>) {
        self.take(pages, Take::All);
    }

    /// Makes all mappings of `pages`, a range of page indices of the object, read-only. Returns
    /// when no hart can write to their frames.
    pub fn write_protect(&self, pages: Range<usize>) {
        self.take(pages, Take::Write);
    }

    /// Calls `change` with the list locked, and keeps `count` equal to its length.
    fn change<R>(&self, change: impl FnOnce(&mut Vec<NonNull<Mapping<M>>>) -> R) -> R {
        self.all.with(|all| {
            let result = change(all);
            self.count.store(all.len(), Ordering::Release);
            result
        })
    }

    #[inline(always)]
    fn take(&self, pages: Range<usize>, what: Take) {
        // A mapping that is not counted yet maps nothing that is to be taken. The caller has
        // changed the object's state, and the mapping's faults lock or read the state after that.
        // Acquire: pairs with the Release in `change`. If a mapping is not counted any more, the
        // unmap that ended it comes before this.
        if self.count.load(Ordering::Acquire) > 0 {
            Batch::take(self, pages, what);
        }
    }

    /// Visits the first mapping whose record lies at the address `from` or above.
    pub fn visit_from(&self, from: usize) -> Option<Visit<M>> {
        self.all.with(|all| {
            let above = all.iter().filter(|mapping| mapping.addr().get() >= from);
            let next = above.min_by_key(|mapping| mapping.addr()).copied()?;
            // SAFETY: a record is removed from the list before it is dropped.
            let record = unsafe { next.as_ref() };
            // The list's lock orders this before the removal of the record, after which
            // `drop_list` looks at visits.
            record.begin_visit();
            Some(Visit(next))
        })
    }
}

/// A visit of a mapping. It keeps the record, its object and its address space.
pub struct Visit<M: Machine>(NonNull<Mapping<M>>);

impl<M: Machine> Visit<M> {
    /// The record of the mapping.
    pub fn record(&self) -> NonNull<()> {
        self.0.cast()
    }

    /// The address space of a shared mapping.
    pub fn space(&self) -> Option<&dyn Space<M>> {
        // SAFETY: an address space unmaps the mapping before it is dropped, and waits then until
        // this visit ends.
        self.space.map(|space| unsafe { space.as_ref() })
    }
}

impl<M: Machine> Deref for Visit<M> {
    type Target = Mapping<M>;

    fn deref(&self) -> &Mapping<M> {
        // SAFETY: the visit was counted when the record was in its object's list, so `drop_list`
        // keeps the record until the visit ends.
        unsafe { self.0.as_ref() }
    }
}

impl<M: Machine> Drop for Visit<M> {
    fn drop(&mut self) {
        self.end_visit();
    }
}

impl<M: Machine> Mapping<M> {
    /// Makes the record of a mapping of the object at `addresses`. The caller maps it next, or
    /// counts all of it as [unmapped](Self::unmapped).
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    ///
    /// # Safety
    ///
    /// `space`, if there is one, does not move, and unmaps the mapping before it is dropped.
    pub unsafe fn create(
        object: Vmo<M>,
        addresses: Pages,
        offset: usize,
        space: Option<NonNull<dyn Space<M>>>,
    ) -> AxResult<NonNull<Self>> {
        object.target().0.0.state.admit_readers()?;
        let record = boxed(Self {
            offset,
            space,
            mapped: AtomicUsize::new(addresses.len()),
            visitors: AtomicUsize::new(0),
            next: None,
            object,
            addresses,
        })?;
        let record = NonNull::from(Box::leak(record));
        // SAFETY: the record has just been made.
        let target = unsafe { record.as_ref() }.object.target().0;
        if space.is_some() {
            let added = target.0.mappings.change(|all| {
                all.try_reserve(1).map_err(|_| AxError::NoMemory)?;
                all.push(record);
                Ok(())
            });
            if let Err(error) = added {
                // SAFETY: `record` came from a box, and no list has it.
                drop(unsafe { Box::from_raw(record.as_ptr()) });
                return Err(error);
            }
        }
        Ok(record)
    }

    /// Returns the offset in the object of the page at `vaddr`, in bytes.
    pub fn offset_of(&self, vaddr: usize) -> usize {
        vaddr - self.addresses.start + self.offset
    }

    /// Returns the addresses that show `bytes`, offsets in the object that has the pages.
    pub fn addresses_of(&self, bytes: &Range<usize>) -> Pages {
        let first = self.object.target().1 * PAGE_SIZE + self.offset;
        let end = first.saturating_add(self.addresses.len());
        let (low, high) = (bytes.start.max(first), bytes.end.min(end));
        match low < high {
            true => self.addresses.start + (low - first)..self.addresses.start + (high - first),
            false => 0..0,
        }
    }

    /// Counts a visit, which keeps the record and its object until [`end_visit`](Self::end_visit).
    /// The record exists, because some of it is mapped and stays so until this returns.
    pub fn begin_visit(&self) {
        // Relaxed: the lock or the fault slot that keeps the page mapped orders this before the
        // record's end.
        self.visitors.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a visit. The caller does not use the record or its address space any more.
    pub fn end_visit(&self) {
        // Release: pairs with the Acquire in `wait_for_visitors`. The visit ends before the address
        // space is dropped.
        self.visitors.fetch_sub(1, Ordering::Release);
    }

    /// Records that `bytes` bytes have been unmapped. If none are left, removes the record from its
    /// object, and puts it in front of `list`. Returns the list.
    ///
    /// # Safety
    ///
    /// These bytes of the mapping were counted as mapped.
    pub unsafe fn unmapped(
        mapping: NonNull<Self>,
        bytes: usize,
        list: Option<NonNull<Self>>,
    ) -> Option<NonNull<Self>> {
        // SAFETY: the record exists while some of it is mapped, by the caller's promise.
        let record = unsafe { mapping.as_ref() };
        // Release: this hart's use of its part comes before the decrement. Acquire: the hart that
        // gets to 0 sees what others did, before it drops the record.
        if record.mapped.fetch_sub(bytes, Ordering::AcqRel) != bytes {
            return list;
        }
        if record.space.is_some() {
            let target = record.object.target().0;
            target.0.mappings.change(|all| {
                let at = all
                    .iter()
                    .position(|other| ptr::addr_eq(other.as_ptr(), mapping.as_ptr()));
                at.map(|at| all.swap_remove(at));
            });
        }
        // SAFETY: no area has the record any more, and no list of its object. Visitors do not read
        // `next`.
        unsafe { (*mapping.as_ptr()).next = list };
        Some(mapping)
    }

    /// Drops all records of a list. Waits until no hart visits them, so the caller holds no lock.
    ///
    /// # Safety
    ///
    /// The list came from [`unmapped`](Self::unmapped), and is not used any more.
    pub unsafe fn drop_list(mut list: Option<NonNull<Self>>) {
        while let Some(mapping) = list {
            let mut round = 0;
            // Acquire: pairs with the Release in `end_visit`.
            // SAFETY: only this function drops the records of the list.
            while unsafe { mapping.as_ref() }.visitors.load(Ordering::Acquire) > 0 {
                M::relax(round);
                round += 1;
            }
            // SAFETY: the record came from a box, and nothing else has its address any more.
            let record = unsafe { Box::from_raw(mapping.as_ptr()) };
            list = record.next;
        }
    }
}
