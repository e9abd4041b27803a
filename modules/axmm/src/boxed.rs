//! Boxes for which there may be no memory.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;

use axerrno::{AxError, AxResult};

/// A box, if there is memory for it.
///
/// # Errors
///
/// `NoMemory`.
pub fn boxed<T>(value: T) -> AxResult<Box<T>> {
    let one: *mut [T] = Box::into_raw(boxed_row(iter::once(value))?);
    // SAFETY: it is a box of one.
    Ok(unsafe { Box::from_raw(one.cast()) })
}

/// All of `values` in one box, if there is memory for it.
///
/// # Errors
///
/// `NoMemory`.
pub fn boxed_row<T>(values: impl ExactSizeIterator<Item = T>) -> AxResult<Box<[T]>> {
    let mut row = Vec::new();
    row.try_reserve_exact(values.len())
        .map_err(|_| AxError::NoMemory)?;
    row.extend(values);
    Ok(row.into_boxed_slice())
}
