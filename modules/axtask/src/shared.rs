//! Reference counting that reports a failed allocation as an error. `Arc::new` aborts.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::{forget, offset_of};
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use axerrno::{AxError, AxResult};

/// Moves a value to the heap.
///
/// # Errors
///
/// `NoMemory` if the heap is exhausted. The value is dropped then.
pub fn try_box<T>(value: T) -> AxResult<Box<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(1).map_err(|_| AxError::NoMemory)?;
    values.push(value);
    let values: *mut [T] = Box::into_raw(values.into_boxed_slice());
    // SAFETY: `values` is a box of a slice of one value, which has the layout of the value.
    Ok(unsafe { Box::from_raw(values.cast()) })
}

/// A counted reference to a value. Dropping the last one drops the value.
pub struct Shared<T>(NonNull<Inner<T>>);

struct Inner<T> {
    references: AtomicUsize,
    value: T,
}

// SAFETY: `Shared` gives `&T` to every thread that has a reference, and drops `T` in any of
// them. That is sound for a `T` that is `Sync` and `Send`, as for `Arc`.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: a `&Shared<T>` gives `&T` and can be cloned to a `Shared<T>`. That is sound for a
// `T` that is `Sync` and `Send`, as for `Arc`.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves a value to the heap and returns the first reference to it.
    ///
    /// # Errors
    ///
    /// `NoMemory` if the heap is exhausted. The value is dropped then.
    pub fn try_new(value: T) -> AxResult<Self> {
        let inner = try_box(Inner {
            references: AtomicUsize::new(1),
            value,
        })?;
        Ok(Self(NonNull::from(Box::leak(inner))))
    }

    /// Turns the reference into a pointer, which keeps the value until
    /// [`from_raw`](Self::from_raw) turns it back.
    pub fn into_raw(self) -> *const T {
        let value = ptr::from_ref(&*self);
        forget(self);
        value
    }

    /// Turns a pointer back into the reference that it came from.
    ///
    /// # Safety
    ///
    /// `value` must come from [`into_raw`](Self::into_raw), and must be turned back once.
    pub unsafe fn from_raw(value: *const T) -> Self {
        let inner = value.map_addr(|addr| addr - offset_of!(Inner<T>, value));
        // SAFETY: by the caller's promise the address lies within an allocation, so it is
        // not null.
        Self(unsafe { NonNull::new_unchecked(inner.cast_mut().cast()) })
    }

    /// Returns whether both refer to the same value.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: this reference keeps the allocation while it exists.
        let references = unsafe { &self.0.as_ref().references };
        // Relaxed: the caller already holds a reference, so the count cannot reach 0 here.
        references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this reference keeps the value while it exists.
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
        // SAFETY: this reference keeps the allocation until the decrement below.
        let references = unsafe { &self.0.as_ref().references };
        // Release: pairs with the fence in the last drop, so that the value is dropped
        // after every use through this reference.
        if references.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: pairs with the Release decrements of all other references.
            fence(Ordering::Acquire);
            let boxed = ptr::slice_from_raw_parts_mut(self.0.as_ptr(), 1);
            // SAFETY: `try_new` made the allocation as a boxed slice of one value. This was
            // the last reference to it.
            drop(unsafe { Box::from_raw(boxed) });
        }
    }
}
