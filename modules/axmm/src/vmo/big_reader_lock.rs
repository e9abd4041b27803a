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
//! | reader | its slot | `WRITING` | gives way: it empties its slot, and locks instead |
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

use crate::atomic::{AtomicUsize, Ordering};
use crate::boxed::boxed_slice;
use crate::locking::index_lock::IndexLock;
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;

/// Set in [`BigReaderLock::slots`] while a hart writes. Slots are aligned to 64 bytes.
const WRITING: usize = 1;

/// A spin lock around `T`, with a way to read `T` beside other readers.
pub struct BigReaderLock<M: Machine, T> {
    lock: IndexLock<M>,
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
            lock: IndexLock::new(),
            slots: AtomicUsize::new(0),
            state: UnsafeCell::new(state),
            _owns: PhantomData,
        }
    }

    /// Calls `f` with the state locked, and without readers. `f` must be short, and must not lock or
    /// read it again.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut irqs_off = Some(M::disable_irqs());
        self.lock.lock(M::hart(), &mut irqs_off);
        // Relaxed: the slots are written with the lock held.
        let slots = self.slots.load(Ordering::Relaxed);
        if slots != 0 {
            self.exclude_readers(slots);
        }
        // SAFETY: this hart holds the lock with interrupts disabled, so no other code writes the
        // state, or reads it with the lock held. No hart reads it with a slot: there are no slots, or
        // all are empty and `WRITING` keeps them so.
        let result = f(unsafe { &mut *self.state.get() });
        if slots != 0 {
            // Release: pairs with the loads in `take_slot`. Later readers see the changes.
            self.slots.store(slots, Ordering::Release);
        }
        self.lock.unlock();
        result
    }

    /// Reads the value until the guard is dropped. Interrupts are disabled meanwhile. Takes this
    /// hart's slot, so that other harts may read at the same time. Locks instead if a hart writes or
    /// is about to, or if no readers are admitted. The caller must be short, and must not lock or
    /// read the value again.
    #[inline(always)]
    pub fn read(&self) -> ReadGuard<'_, M, T> {
        let mut irqs_off = Some(M::disable_irqs());
        let hart = M::hart();
        let slot = self.take_slot(hart);
        if slot.is_none() {
            self.lock.lock(hart, &mut irqs_off);
        }
        ReadGuard {
            state: &self.state,
            lock: &self.lock,
            slot,
            _irqs_off: irqs_off,
        }
    }

    /// Takes the slot of `hart`, which runs this with interrupts disabled. Returns `None` if no slot
    /// may be taken now, or if this hart reads the value already.
    #[inline(always)]
    fn take_slot(&self, hart: usize) -> Option<&Slot> {
        // Acquire: pairs with the Release in `admit_readers`.
        let slots = self.slots.load(Ordering::Acquire);
        if slots == 0 || slots & WRITING != 0 {
            return None;
        }
        // SAFETY: `slots` is the address of a slot for each hart.
        let slot = unsafe { slot_of(slots, hart) };
        // Relaxed: only this hart writes its slot.
        if slot.0.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // SeqCst: comes before the load below. Pairs with the load in `exclude_readers`.
        slot.0.store(1, Ordering::SeqCst);
        // SeqCst: comes after the store above. Pairs with the store in `exclude_readers`, and with
        // the Release in `with`: this hart sees what earlier writers have changed.
        if self.slots.load(Ordering::SeqCst) & WRITING != 0 {
            // Relaxed: this hart has not read the value.
            slot.0.store(0, Ordering::Relaxed);
            return None;
        }
        Some(slot)
    }

    /// Waits until no hart reads the value. The caller holds the lock.
    #[cold]
    fn exclude_readers(&self, slots: usize) {
        // SeqCst: comes before the loads below. Pairs with the second load of `slots` in `take_slot`.
        self.slots.store(slots | WRITING, Ordering::SeqCst);
        for hart in 0..M::harts() {
            let mut round = 0;
            // SAFETY: `slots` is the address of a slot for each hart.
            let slot = unsafe { slot_of(slots, hart) };
            // SeqCst: comes after the store above. Pairs with the stores to the slot in `take_slot`
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
        let mut irqs_off = Some(M::disable_irqs());
        self.lock.lock(M::hart(), &mut irqs_off);
        // Relaxed: the slots are written with the lock held.
        if self.slots.load(Ordering::Relaxed) == 0
            && let Some(slots) = unused.take()
        {
            let slots = NonNull::from(Box::leak(slots)).cast::<Slot>();
            let address = slots.expose_provenance().get();
            // Release: pairs with the first load in `take_slot`. A reader sees the slots, and what
            // former holders of the lock have written.
            self.slots.store(address, Ordering::Release);
        }
        self.lock.unlock();
        Ok(())
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
    lock: &'a IndexLock<M>,
    /// This hart's slot. `None` if this hart holds the lock instead.
    slot: Option<&'a Slot>,
    _irqs_off: Option<M::IrqGuard>,
}

impl<M: Machine, T> Deref for ReadGuard<'_, M, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `read` has returned this guard. So this hart holds the lock, which writers need. Or
        // its slot was taken when no hart was writing, and writers wait until the slot is empty. Both
        // last until the guard is dropped.
        unsafe { &*self.state.get() }
    }
}

impl<M: Machine, T> Drop for ReadGuard<'_, M, T> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.slot {
            // Release: pairs with the load in `exclude_readers`. The writer comes after this reader.
            Some(slot) => slot.0.store(0, Ordering::Release),
            None => self.lock.unlock(),
        }
    }
}
