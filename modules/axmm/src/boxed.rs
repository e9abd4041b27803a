//! Boxes that are allocated fallibly.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;

use axerrno::{AxError, AxResult};

/// Returns a box that holds `value`.
///
/// # Errors
///
/// Fails with `NoMemory` if the box cannot be allocated.
pub fn boxed<T>(value: T) -> AxResult<Box<T>> {
    let slice: *mut [T] = Box::into_raw(boxed_slice(iter::once(value))?);
    // SAFETY: the slice has one element, so a box of it and a box of the element have the same
    // address and layout.
    Ok(unsafe { Box::from_raw(slice.cast()) })
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
