//! Boxes that are allocated fallibly.

use alloc::alloc::alloc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::MaybeUninit;

use axerrno::{AxError, AxResult};

/// Returns a box that holds `value`.
///
/// # Errors
///
/// Fails with `NoMemory` if the box cannot be allocated.
#[inline(always)]
pub fn boxed<T>(value: T) -> AxResult<Box<T>> {
    let place = boxed_uninit()?;
    Ok(Box::write(place, value))
}

/// Returns a box whose value the caller writes into its place, so that a large value is not moved.
///
/// # Errors
///
/// Fails with `NoMemory` if the box cannot be allocated.
#[inline(always)]
pub fn boxed_uninit<T>() -> AxResult<Box<MaybeUninit<T>>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout's size is not 0.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<MaybeUninit<T>>();
    if place.is_null() {
        return Err(AxError::NoMemory);
    }
    // SAFETY: the global allocator returned the block for the layout of `T`, which is that of
    // `MaybeUninit<T>`. Such a value needs no initialization.
    Ok(unsafe { Box::from_raw(place) })
}

/// Returns a box that holds all of `values` as a slice.
///
/// # Errors
///
/// Fails with `NoMemory` if the box cannot be allocated.
pub fn boxed_slice<T>(values: impl ExactSizeIterator<Item = T>) -> AxResult<Box<[T]>> {
    let mut slice = Vec::new();
    slice
        .try_reserve_exact(values.len())
        .map_err(|_| AxError::NoMemory)?;
    slice.extend(values);
    Ok(slice.into_boxed_slice())
}
