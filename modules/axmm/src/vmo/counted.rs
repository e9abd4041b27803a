//! [`Counted`]: a counted pointer that is allocated fallibly. Stable Rust has no fallible `Arc`.

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use axerrno::AxResult;

use crate::atomic::{AtomicUsize, Ordering};
use crate::boxed::{boxed, boxed_uninit};

#[cfg(all(test, loom))]
mod interleavings;

/// One of the counted owners of a value. The value is dropped with its last owner.
///
/// Each owner takes up memory, so the count of owners cannot overflow.
pub struct Counted<T> {
    block: NonNull<Block<T>>,
    _owns: PhantomData<Block<T>>,
}

#[repr(C)]
struct Block<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: owners on several threads share `T`, and the last one drops it on its own thread.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: a reference to an owner lets a thread make an owner of its own, as `Send` does.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

/// A type that has a value whose bytes are all 0.
///
/// # Safety
///
/// Bytes that are all 0, as many as the type has, are a valid value of the type.
pub unsafe trait Zeroed {}

impl<T> Counted<T> {
    /// Allocates a value with one owner, and returns the owner.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is no memory for the value.
    #[inline(always)]
    pub fn new(value: T) -> AxResult<Self> {
        let owners = AtomicUsize::new(1);
        boxed(Block { owners, value }).map(Self::from_block)
    }

    /// Allocates a value whose bytes are all 0, with one owner, and returns the owner.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is no memory for the value.
    pub fn new_zeroed() -> AxResult<Self>
    where
        T: Zeroed,
    {
        let mut block = boxed_uninit::<Block<T>>()?;
        let fields = block.as_mut_ptr();
        // SAFETY: `fields` points to the block, which this function owns. `T: Zeroed` promises that
        // bytes of 0 are a valid `T`, so both fields are initialized.
        let block = unsafe {
            (&raw mut (*fields).owners).write(AtomicUsize::new(1));
            (&raw mut (*fields).value).write_bytes(0, 1);
            block.assume_init()
        };
        Ok(Self::from_block(block))
    }

    #[inline(always)]
    fn from_block(block: Box<Block<T>>) -> Self {
        Self {
            block: NonNull::from(Box::leak(block)),
            _owns: PhantomData,
        }
    }

    fn block(&self) -> &Block<T> {
        // SAFETY: `self` is an owner, so the block has not been freed.
        unsafe { self.block.as_ref() }
    }

    /// Adds an owner, and returns it.
    pub fn share(&self) -> Self {
        // Relaxed: the caller has an owner already, so the value cannot be freed meanwhile.
        self.block().owners.fetch_add(1, Ordering::Relaxed);
        Self {
            block: self.block,
            _owns: PhantomData,
        }
    }

    /// Returns whether the value has other owners. They may be dropped at any time. If there are
    /// none, there will be none until this owner is shared.
    pub fn is_shared(&self) -> bool {
        // Acquire: pairs with the decrement in `drop`. An only owner sees everything that former
        // owners did with the value.
        self.block().owners.load(Ordering::Acquire) != 1
    }

    /// Returns the value for writing. `None` if it has other owners.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.is_shared() {
            return None;
        }
        // SAFETY: `self` is the only owner and is borrowed exclusively. `is_shared` has ordered
        // the accesses of former owners before this one.
        Some(unsafe { &mut self.block.as_mut().value })
    }

    /// Turns the owner into a raw pointer, which owns it from now on. The pointer is aligned to
    /// at least 8 bytes.
    pub fn into_raw(self) -> NonNull<()> {
        let raw = self.block.cast();
        core::mem::forget(self);
        raw
    }

    /// Turns a raw pointer back into an owner.
    ///
    /// # Safety
    ///
    /// `raw` comes from [`into_raw`](Self::into_raw) of the same type, and owns its reference.
    pub unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self {
            block: raw.cast(),
            _owns: PhantomData,
        }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.block().value
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        // Release: this owner's accesses come before the decrement. Acquire: the last owner sees
        // those of all the others before it frees the value.
        if self.block().owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: `from_block` made the pointer from a box, and this was the last owner.
            drop(unsafe { Box::from_raw(self.block.as_ptr()) });
        }
    }
}
