//! Boxes for which there may be no memory.

use alloc::boxed::Box;
use alloc::vec::Vec;

use axerrno::{AxError, AxResult};

/// A box, if there is memory for it.
///
/// # Errors
///
/// `NoMemory`.
pub fn boxed<T>(value: T) -> AxResult<Box<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| AxError::NoMemory)?;
    room.push(value);
    let one: *mut [T] = Box::into_raw(room.into_boxed_slice());
    // SAFETY: it is a box of one.
    Ok(unsafe { Box::from_raw(one.cast()) })
}
