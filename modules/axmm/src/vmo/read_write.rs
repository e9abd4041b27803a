//! Reading and writing bytes of an object.

use core::mem;
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

/// The number of bytes that are copied through the stack at a time ([`copy_out`]).
const BOUNCE: usize = 64;

impl<M: Machine> Vmo<M> {
    /// Reads the bytes from `offset` on into `buf`. Operations of an object are serialized, also two
    /// reads.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if the bytes do not lie in the object.
    /// - Fails with `BadAddress` if the object is physical, and there is no memory for a byte. The
    ///   bytes before it have been read.
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
    /// - Fails with `BadAddress` if the object is physical, and there is no memory for a byte. The
    ///   bytes before it have been written.
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
            copy_in::<M>(part, frame + at)?;
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
        // Without bytes there are no pages. An offset past the end is refused all the same.
        let behind = end.div_ceil(PAGE_SIZE);
        let (object, mut pages) = self.locate(&(first..behind.max(first)))?;
        if len == 0 {
            pages.start = pages.end;
        }
        Ok((object, pages, offset % PAGE_SIZE))
    }
}

impl<M: Machine> Object<M> {
    /// Returns where the page with index `page` is. The caller has the turn.
    fn page(&self, page: usize) -> AxResult<Page> {
        match &self.body {
            Body::Tree { base } => self.state.read().page(base + page),
            Body::Run { start, .. } => Ok(Page::Owned(*start + page * PAGE_SIZE)),
            Body::Slice { .. } => Err(AxError::BadState),
        }
    }
}

/// Acknowledges flush requests if `page` is the last of 64 pages.
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

/// Copies bytes of a page of an object, from `from` on, to `to`.
///
/// [`Machine::copy`] waits for no other hart. If a page of the caller's buffer cannot be mapped at
/// once, the copy ends there. Some bytes are then copied through the stack, and moved to the buffer
/// by an access that may take any fault.
///
/// # Errors
///
/// Fails with `BadAddress` if there is no memory at `from`.
fn copy_out<M: Machine>(from: PhysAddr, to: &mut [u8]) -> AxResult {
    let mut from = linear(from, to.len())?.cast_const();
    let mut rest = to;
    while !rest.is_empty() {
        // SAFETY: the bytes at `from` are those of a page of the object, which Rust code has no
        // reference to. `rest` is borrowed exclusively.
        let mut count = unsafe { M::copy(from, rest.as_mut_ptr(), rest.len()) };
        if count == 0 {
            let mut bounce = [0; BOUNCE];
            let len = rest.len().min(BOUNCE);
            // SAFETY: the bytes at `from` are those of a page of the object, which Rust code has no
            // reference to. `bounce` is this function's own.
            count = unsafe { M::copy(from, bounce.as_mut_ptr(), len) };
            rest[..count].copy_from_slice(&bounce[..count]);
        }
        if count == 0 {
            return Err(AxError::BadAddress);
        }
        from = from.wrapping_add(count);
        rest = &mut mem::take(&mut rest)[count..];
    }
    Ok(())
}

/// Copies `from` to bytes of a page of an object, from `to` on. Where a page of the caller's buffer
/// cannot be mapped at once, the bytes go through the stack, as [`copy_out`] explains.
///
/// # Errors
///
/// Fails with `BadAddress` if there is no memory at `to`.
fn copy_in<M: Machine>(from: &[u8], to: PhysAddr) -> AxResult {
    let mut to = linear(to, from.len())?;
    let mut rest = from;
    while !rest.is_empty() {
        // SAFETY: the bytes at `to` are those of a page of the object, which Rust code has no
        // reference to. `rest` is only read.
        let mut count = unsafe { M::copy(rest.as_ptr(), to, rest.len()) };
        if count == 0 {
            let mut bounce = [0; BOUNCE];
            let len = rest.len().min(BOUNCE);
            bounce[..len].copy_from_slice(&rest[..len]);
            // SAFETY: the bytes at `to` are those of a page of the object, which Rust code has no
            // reference to. `bounce` is this function's own.
            count = unsafe { M::copy(bounce.as_ptr(), to, len) };
        }
        if count == 0 {
            return Err(AxError::BadAddress);
        }
        to = to.wrapping_add(count);
        rest = &rest[count..];
    }
    Ok(())
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
        let count = unsafe { M::copy(ZEROES.as_ptr(), to, ZEROES.len()) };
        if count < ZEROES.len() {
            return Err(AxError::BadAddress);
        }
    }
    Ok(())
}
