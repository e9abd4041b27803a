//! [`BigReaderLock`]: a spin lock around a value that page faults read at the same time.
//!
//! ```text
//!                         hart 0     hart 1     hart 2     hart 3
//!   reader's slot         reads      –          –          reads       a cache line each
//!   WRITING               set by hart 1, which waits for harts 0 and 3
//! ```
//!
//! | | writes | then reads | if it sees the other |
//! |---|---|---|---|
//! | reader | its slot | `WRITING` | gives way: it empties its slot, and takes the lock |
//! | writer | `WRITING`, with the lock held | all slots | waits until they are empty |
//!
//! Writes and reads are sequentially consistent, so at least one of the two sees the other. Readers
//! write no cache line that another hart writes, so they do not slow each other down.
//!
//! The slots take a cache line for each hart. So they are only allocated for a value that several
//! harts are about to read ([`BigReaderLock::admit_readers`]). Before that there are no readers.
//! Linux has had such a lock, whose name this is.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use axerrno::AxResult;

use super::lock::StateLock;
use crate::atomic::{AtomicUsize, Ordering};
use crate::boxed::boxed_slice;
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;

/// Set in [`BigReaderLock::slots`] while a hart writes. Slots are aligned to 64 bytes.
const WRITING: usize = 1;

/// A spin lock around `T`, with a way to read `T` beside other readers.
pub struct BigReaderLock<M: Machine, T> {
    lock: StateLock<M, ()>,
    /// The address of the slots, one for each hart, and [`WRITING`]. 0 before the first reader is
    /// admitted. Written with the lock held.
    slots: AtomicUsize,
    state: UnsafeCell<T>,
    _owns: PhantomData<Box<[Slot]>>,
}

/// What one hart reads: 1 while it reads the value, or else 0.
#[repr(align(64))]
struct Slot(AtomicUsize);

// SAFETY: several threads read `T` at a time, or one writes it and may take it out. `M: Sync` says
// that the threads of this machine are harts with numbers of their own.
unsafe impl<M: Machine + Sync, T: Send + Sync> Sync for BigReaderLock<M, T> {}
// SAFETY: as long as a thread owns the lock, no other thread uses it. No field but `T` depends on
// the thread.
unsafe impl<M: Machine, T: Send> Send for BigReaderLock<M, T> {}

impl<M: Machine, T> BigReaderLock<M, T> {
    /// A free lock around `state`, without readers.
    #[inline(always)]
    pub fn new(state: T) -> Self {
        Self {
            lock: StateLock::new(()),
            slots: AtomicUsize::new(0),
            state: UnsafeCell::new(state),
            _owns: PhantomData,
        }
    }

    /// Calls `f` with the state locked, and without readers. `f` must be short, and must not lock or
    /// read it again.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.lock.with(|()| {
            // Relaxed: the slots are written with the lock held.
            let slots = self.slots.load(Ordering::Relaxed);
            if slots != 0 {
                self.exclude_readers(slots);
            }
            // SAFETY: this hart holds the lock with interrupts disabled, so no other code writes the
            // state until this returns. No hart reads it: there are no slots, or all are empty and
            // `WRITING` keeps them so.
            let result = f(unsafe { &mut *self.state.get() });
            if slots != 0 {
                // Release: pairs with the loads in `try_read`. Later readers see the changes.
                self.slots.store(slots, Ordering::Release);
            }
            result
        })
    }

    /// Waits until no hart reads the value. The caller holds the lock.
    #[cold]
    fn exclude_readers(&self, slots: usize) {
        // SeqCst: comes before the loads below. Pairs with the second load in `try_read`.
        self.slots.store(slots | WRITING, Ordering::SeqCst);
        for hart in 0..M::harts() {
            let mut round = 0;
            // SAFETY: `slots` is the address of a slot for each hart.
            let slot = unsafe { slot_of(slots, hart) };
            // SeqCst: comes after the store above. Pairs with the stores to the slot in `try_read`
            // and in the guard's drop: the reader's accesses come before this.
            while slot.0.load(Ordering::SeqCst) != 0 {
                M::relax(round);
                round += 1;
            }
        }
    }

    /// Lets harts read the value without the lock from now on. Does nothing on a machine of one
    /// hart, where the lock alone costs less.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    pub fn admit_readers(&self) -> AxResult {
        // Relaxed: a mistake costs an allocation that is not used.
        if M::harts() == 1 || self.slots.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let empty = (0..M::harts()).map(|_| Slot(AtomicUsize::new(0)));
        let mut unused = Some(boxed_slice(empty)?);
        self.lock.with(|()| {
            // Relaxed: the slots are written with the lock held.
            if self.slots.load(Ordering::Relaxed) == 0
                && let Some(slots) = unused.take()
            {
                let slots = NonNull::from(Box::leak(slots)).cast::<Slot>();
                let address = slots.expose_provenance().get();
                // Release: pairs with the first load in `try_read`. A reader sees the slots, and
                // what former holders of the lock have written.
                self.slots.store(address, Ordering::Release);
            }
        });
        Ok(())
    }

    /// Reads the value until the guard is dropped. Interrupts are disabled meanwhile. Returns `None`
    /// if a hart writes or is about to, if this hart reads the value already, or if no readers are
    /// admitted. The caller takes the lock then.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, M, T>> {
        // Acquire: pairs with the Release in `admit_readers`.
        let slots = self.slots.load(Ordering::Acquire);
        if slots == 0 || slots & WRITING != 0 {
            return None;
        }
        let irqs_off = M::disable_irqs();
        // SAFETY: `slots` is the address of a slot for each hart.
        let slot = unsafe { slot_of(slots, M::hart()) };
        // Relaxed: only this hart writes its slot.
        if slot.0.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // SeqCst: comes before the load below. Pairs with the load in `exclude_readers`.
        slot.0.store(1, Ordering::SeqCst);
        // The guard empties the slot, also if this hart gives way.
        let guard = ReadGuard {
            state: &self.state,
            slot,
            _irqs_off: irqs_off,
        };
        // SeqCst: comes after the store above. Pairs with the store in `exclude_readers`, and with
        // the Release in `with`: this hart sees what earlier writers have changed.
        let is_writing = self.slots.load(Ordering::SeqCst) & WRITING != 0;
        (!is_writing).then_some(guard)
    }

    /// Returns the state without locking it.
    pub fn get_mut(&mut self) -> &mut T {
        self.state.get_mut()
    }
}

impl<M: Machine, T> Drop for BigReaderLock<M, T> {
    fn drop(&mut self) {
        // Relaxed: no other thread uses the lock any more.
        let slots = self.slots.load(Ordering::Relaxed);
        if slots != 0 {
            let first = ptr::with_exposed_provenance_mut::<Slot>(slots);
            let all = ptr::slice_from_raw_parts_mut(first, M::harts());
            // SAFETY: `admit_readers` took the address from a box of this length.
            drop(unsafe { Box::from_raw(all) });
        }
    }
}

/// Returns the slot of `hart`.
///
/// # Safety
///
/// `slots` is the address of a slot for each hart, and they exist as long as the result.
#[inline(always)]
unsafe fn slot_of<'a>(slots: usize, hart: usize) -> &'a Slot {
    let first = ptr::with_exposed_provenance::<Slot>(slots & !WRITING);
    // SAFETY: the caller promises that there is a slot with this index.
    unsafe { &*first.add(hart) }
}

/// The value, which no hart writes as long as this exists.
pub struct ReadGuard<'a, M: Machine, T> {
    state: &'a UnsafeCell<T>,
    slot: &'a Slot,
    _irqs_off: M::IrqGuard,
}

impl<M: Machine, T> Deref for ReadGuard<'_, M, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `try_read` has returned this guard, so the hart's slot was taken and no hart was
        // writing. A writer waits until the slot is empty, which is when the guard is dropped.
        unsafe { &*self.state.get() }
    }
}

impl<M: Machine, T> Drop for ReadGuard<'_, M, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with the load in `exclude_readers`. The writer comes after this reader.
        self.slot.0.store(0, Ordering::Release);
    }
}
