//! Frames for tables that an operation allocates before it changes anything, so that it cannot
//! fail halfway.

use core::marker::PhantomData;

use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;
use page_table_multiarch::PagingHandler;

/// A list of free frames. Each frame holds the address of the next one. Frames that are left
/// are freed with the list.
pub struct SpareTables<H: PagingHandler> {
    first: Option<PhysAddr>,
    _handler: PhantomData<H>,
}

impl<H: PagingHandler> SpareTables<H> {
    /// Allocates `count` frames.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there are not enough frames. Then all are free again.
    pub fn allocate(count: usize) -> AxResult<Self> {
        let mut spare = Self {
            first: None,
            _handler: PhantomData,
        };
        for _ in 0..count {
            let frame = H::alloc_frame().ok_or(AxError::NoMemory)?;
            // SAFETY: the frame has just been allocated, so nothing else uses it, and `H` maps
            // it at this address.
            unsafe { Self::link(frame).write(spare.first) };
            spare.first = Some(frame);
        }
        Ok(spare)
    }

    /// Takes a frame out of the list. It is full of zeroes, as an empty table is.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if the list is empty.
    pub fn take(&mut self) -> AxResult<PhysAddr> {
        let frame = self.first.ok_or(AxError::NoMemory)?;
        let link = Self::link(frame);
        // SAFETY: `allocate` has written the link of every frame in the list, and the list owns
        // the frame.
        self.first = unsafe { link.read() };
        // SAFETY: the list owns the frame, of which the link is a part.
        unsafe { link.write_bytes(0, 1) };
        Ok(frame)
    }

    fn link(frame: PhysAddr) -> *mut Option<PhysAddr> {
        H::phys_to_virt(frame).as_mut_ptr().cast()
    }
}

impl<H: PagingHandler> Drop for SpareTables<H> {
    fn drop(&mut self) {
        while let Ok(frame) = self.take() {
            H::dealloc_frame(frame);
        }
    }
}
