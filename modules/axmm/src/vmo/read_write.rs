//! Reading and writing bytes of an object.

use core::ops::Range;
use core::ptr;

use axconfig::{MAX_PHYS, PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use super::Vmo;
use super::object::{Body, Object, Page};
use crate::machine::Machine;

/// The number of pages that are copied between two calls of [`Machine::poll`].
const PAGES_PER_POLL: usize = 64;

impl<M: Machine> Vmo<M> {
    /// Reads the bytes from `offset` on into `buf`. Reads, [writes](Self::write) and snapshots of
    /// an object are serialized.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if the bytes do not lie in the object.
    /// - Fails with `BadAddress` if the object is physical, and a byte cannot be read.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> AxResult {
        let (object, pages, mut at) = self.pages_of(offset, buf.len())?;
        let _turn = object.turn_for(&pages)?;
        let mut rest = buf;
        for page in pages {
            let len = rest.len().min(PAGE_SIZE - at);
            let (part, behind) = rest.split_at_mut(len);
            match object.page(page)? {
                Page::Absent => part.fill(0),
                Page::Owned(frame) => copy_out::<M>(frame + at, part)?,
                Page::Shared(frame) => copy_out::<M>(frame.start() + at, part)?,
            }
            poll_after::<M>(page);
            (rest, at) = (behind, 0);
        }
        Ok(())
    }

    /// Writes `bytes` from `offset` on. Pages that have no frame, or one that other objects have,
    /// too, get a frame of their own.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if the bytes do not lie in the object.
    /// - Fails with `NoMemory`. Nothing has been written then.
    /// - Fails with `BadAddress` if the object is physical, and a byte cannot be written.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> AxResult {
        let (object, pages, mut at) = self.pages_of(offset, bytes.len())?;
        let _turn = object.turn_for(&pages)?;
        object.commit_in_turn(&pages)?;
        let mut rest = bytes;
        for page in pages {
            let len = rest.len().min(PAGE_SIZE - at);
            let (part, behind) = rest.split_at(len);
            // The page is the object's own, because no snapshot is made during the turn.
            let Page::Owned(frame) = object.page(page)? else {
                return Err(AxError::BadState);
            };
            // SAFETY: the bytes are those of a page of the object, which Rust code has no
            // reference to. `part` is readable.
            unsafe { copy::<M>(part.as_ptr(), linear(frame + at, len)?, len)? };
            poll_after::<M>(page);
            (rest, at) = (behind, 0);
        }
        Ok(())
    }

    /// Returns the object that has `len` bytes from `offset` on, the pages there that they lie in,
    /// and the offset of the first byte in its page.
    fn pages_of(&self, offset: usize, len: usize) -> AxResult<(&Object<M>, Range<usize>, usize)> {
        let end = offset.checked_add(len).ok_or(AxError::InvalidInput)?;
        let first = offset / PAGE_SIZE;
        // Without bytes there are no pages, but the offset is checked.
        let behind = end.div_ceil(PAGE_SIZE);
        let (object, mut pages) = self.locate(&(first..behind.max(first)))?;
        if len == 0 {
            pages.end = pages.start;
        }
        Ok((object, pages, offset % PAGE_SIZE))
    }
}

impl<M: Machine> Object<M> {
    /// Returns where the page with index `page` is. The caller has the turn.
    fn page(&self, page: usize) -> AxResult<Page> {
        match &self.body {
            Body::Tree { base } => self.state.with(|state| state.page(base + page)),
            Body::Run { start, .. } => Ok(Page::Owned(*start + page * PAGE_SIZE)),
            Body::Slice { .. } => Err(AxError::BadState),
        }
    }
}

/// Acknowledges flush requests after every 64th page.
fn poll_after<M: Machine>(page: usize) {
    if page % PAGES_PER_POLL == PAGES_PER_POLL - 1 {
        M::poll();
    }
}

/// Returns the address of `len` bytes of physical memory in the linear mapping.
///
/// # Errors
///
/// Fails with `BadAddress` if they lie beyond the linear mapping.
fn linear(start: PhysAddr, len: usize) -> AxResult<*mut u8> {
    let start = start.as_usize();
    if start.checked_add(len).is_none_or(|end| end > MAX_PHYS) {
        return Err(AxError::BadAddress);
    }
    Ok(ptr::with_exposed_provenance_mut(start + PHYS_VIRT_OFFSET))
}

fn copy_out<M: Machine>(from: PhysAddr, to: &mut [u8]) -> AxResult {
    let from = linear(from, to.len())?;
    // SAFETY: the bytes at `from` are those of a page of the object, which Rust code has no
    // reference to. `to` is borrowed exclusively.
    unsafe { copy::<M>(from, to.as_mut_ptr(), to.len()) }
}

/// Copies `len` bytes.
///
/// # Errors
///
/// Fails with `BadAddress` if an access faults.
///
/// # Safety
///
/// That of [`Machine::copy`].
unsafe fn copy<M: Machine>(from: *const u8, to: *mut u8, len: usize) -> AxResult {
    // SAFETY: the caller promises what `Machine::copy` requires.
    let done = unsafe { M::copy(from, to, len) };
    (done == len).then_some(()).ok_or(AxError::BadAddress)
}

/// Fills the page at `to`, a page of a physical or contiguous object, with zeroes.
///
/// # Errors
///
/// Fails with `BadAddress` if the page is not memory in the linear mapping.
pub fn fill_with_zeroes<M: Machine>(to: PhysAddr) -> AxResult {
    static ZEROES: [u8; 512] = [0; 512];
    for offset in (0..PAGE_SIZE).step_by(ZEROES.len()) {
        let to = linear(to + offset, ZEROES.len())?;
        // SAFETY: the bytes at `to` are those of a page of the object, which Rust code has no
        // reference to.
        unsafe { copy::<M>(ZEROES.as_ptr(), to, ZEROES.len())? };
    }
    Ok(())
}
