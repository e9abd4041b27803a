//! The locks of an object.
//!
//! | lock | guards | interrupts |
//! |---|---|---|
//! | [`Turn`] | an operation, against the other operations of the object | are taken |
//! | [`BigReaderLock`](super::big_reader_lock::BigReaderLock) of the state | the tree, the length and the other fields | are disabled |
//! | [`StateLock`] of the mappings | the list of shared mappings | are disabled |
//!
//! An operation that reads or changes pages holds the turn from beginning to end. It locks the state
//! only for short steps: some 64 pages, or the path to a page. Page requests do not take the turn.
//! They add and copy pages, but they never take a page away and never make one shared. So the
//! number of nodes and frames that an operation needs does not grow during its turn.
//!
//! Order:
//!
//! 1. A turn. No thread holds two.
//! 2. Locks of address spaces. An operation takes them when it unmaps or write-protects pages. A
//!    page fault has its fault slot. No thread waits for a turn while it holds one of these.
//! 3. A state. No thread holds those of two objects.
//! 4. The list of mappings, and the locks of `axalloc`.
//!
//! An interrupt handler must not call operations of objects. Neither must a shrinker: an allocation
//! that fails runs it, with the turn held.

use core::cell::UnsafeCell;

use crate::locking::index_lock::IndexLock;
use crate::machine::Machine;

/// Serializes the operations of an object.
pub struct Turn<M>(IndexLock<M>);

impl<M: Machine> Turn<M> {
    /// A turn that is free.
    pub fn new() -> Self {
        Self(IndexLock::new())
    }

    /// Waits for the turn, and holds it until the result is dropped. The thread stays on its
    /// hart meanwhile.
    pub fn wait(&self) -> TurnGuard<'_, M> {
        let preempt_off = M::disable_preemption();
        let mut irqs_off = Some(M::disable_irqs());
        self.0.lock(M::hart(), &mut irqs_off);
        TurnGuard {
            turn: self,
            _preempt_off: preempt_off,
        }
    }
}

/// The turn of an object.
pub struct TurnGuard<'a, M: Machine> {
    turn: &'a Turn<M>,
    _preempt_off: M::PreemptGuard,
}

impl<M: Machine> Drop for TurnGuard<'_, M> {
    fn drop(&mut self) {
        self.turn.0.unlock();
    }
}

/// A spin lock around `T`.
pub struct StateLock<M, T> {
    lock: IndexLock<M>,
    state: UnsafeCell<T>,
}

// SAFETY: the lock gives `T` to one thread at a time. `M: Sync` says that the threads of this
// machine are harts with numbers of their own.
unsafe impl<M: Sync, T: Send> Sync for StateLock<M, T> {}
// SAFETY: as long as a thread owns the lock, no other thread uses it. No field but `T` depends on
// the thread.
unsafe impl<M, T: Send> Send for StateLock<M, T> {}

impl<M: Machine, T> StateLock<M, T> {
    /// A free lock around `state`.
    pub fn new(state: T) -> Self {
        Self {
            lock: IndexLock::new(),
            state: UnsafeCell::new(state),
        }
    }

    /// Calls `f` with the state locked. `f` must be short, and must not lock it again.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut irqs_off = Some(M::disable_irqs());
        self.lock.lock(M::hart(), &mut irqs_off);
        // SAFETY: this hart holds the lock with interrupts disabled, so no other code accesses
        // the state until `unlock`.
        let result = f(unsafe { &mut *self.state.get() });
        self.lock.unlock();
        result
    }
}
