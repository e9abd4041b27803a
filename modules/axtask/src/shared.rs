//! A value with counted owners whose making can fail, which `Arc`'s cannot.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use axerrno::{AxError, AxResult};

/// A value on the heap.
///
/// # Errors
///
/// `NoMemory`; the value is dropped then.
pub fn try_box<T>(value: T) -> AxResult<Box<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| AxError::NoMemory)?;
    room.push(value);
    let values: *mut [T] = Box::into_raw(room.into_boxed_slice());
    // SAFETY: `values` is a box of one value, which has the layout of the value.
    Ok(unsafe { Box::from_raw(values.cast()) })
}

/// One of the owners of a value, which goes with the last.
pub struct Shared<T>(NonNull<Inner<T>>);

struct Inner<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: as of `Arc`: the value is seen by all its owners, and dropped by any.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A value with one owner.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn try_new(value: T) -> AxResult<Self> {
        let inner = try_box(Inner {
            owners: AtomicUsize::new(1),
            value,
        })?;
        Ok(Self(NonNull::from(Box::leak(inner))))
    }

    /// Gives the ownership away: the value stays until [`from_raw`](Self::from_raw).
    pub(crate) fn into_raw(self) -> *const T {
        let value = ptr::from_ref(&*self);
        core::mem::forget(self);
        value
    }

    /// Takes the ownership back.
    ///
    /// # Safety
    ///
    /// `value` is [`into_raw`](Self::into_raw)'s, and has not been taken back yet.
    pub(crate) unsafe fn from_raw(value: *const T) -> Self {
        let inner = value.map_addr(|addr| addr - core::mem::offset_of!(Inner<T>, value));
        // SAFETY: it is within the value's own allocation, which is not at null.
        Self(unsafe { NonNull::new_unchecked(inner.cast_mut().cast()) })
    }

    /// Whether both own the same value.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: this owner keeps it.
        unsafe { self.0.as_ref() }
            .owners
            .fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this owner keeps it.
        unsafe { &self.0.as_ref().value }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this owner has kept it so far.
        let owners = unsafe { &self.0.as_ref().owners };
        if owners.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let one = ptr::slice_from_raw_parts_mut(self.0.as_ptr(), 1);
            // SAFETY: `try_new` has made it a box of one, and this was its last owner.
            drop(unsafe { Box::from_raw(one) });
        }
    }
}
