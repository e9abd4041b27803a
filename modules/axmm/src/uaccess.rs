//! Copying into and out of an address space, whichever one is loaded.
//!
//! A copy goes page by page through the linear mapping of physical memory. A page
//! that is not there yet is brought, and rights are respected, as if the access
//! had been made by an instruction in that address space; what could not be had
//! by one ends the copy there. Nothing traps: as for a page fault, nobody takes the page
//! away meanwhile; and where the buffer itself lies in the address space, its pages are
//! brought first, for a fault by whoever copies there could not be helped.

use core::mem::MaybeUninit;
use core::ptr;

use axconfig::PHYS_VIRT_OFFSET;
use axerrno::{AxError, AxResult};
use bytemuck::{AnyBitPattern, NoUninit};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::areas::Area;
use crate::aspace::{AddrSpace, Fault};
use crate::backend::Backend;
use crate::machine::Machine;

/// A part of a copy that lies in one page.
struct Piece {
    /// Where the page's bytes are in the linear mapping.
    bytes: *mut u8,
    len: usize,
}

/// How many bytes were copied, and why not more.
type Copied = (usize, Result<(), Fault>);

impl<M: Machine> AddrSpace<M> {
    /// Fills `buf` with what lies from `start` on.
    ///
    /// # Errors
    ///
    /// `BadAddress` if some of it may not be read, `NoMemory` if there is none for a page
    /// of it; `buf` holds what lies before that. [`read_some`](Self::read_some) says how
    /// much it is.
    pub fn read(&self, start: VirtAddr, buf: &mut [u8]) -> AxResult {
        Ok(self.copy_out(start, buf).1?)
    }

    /// Puts `buf` where `start` is.
    ///
    /// # Errors
    ///
    /// `BadAddress` if some of it may not be written, `NoMemory` if there is none for a
    /// page of it; what lies before that has been written.
    /// [`write_some`](Self::write_some) says how much it is.
    pub fn write(&self, start: VirtAddr, buf: &[u8]) -> AxResult {
        Ok(self.copy_in(start, buf).1?)
    }

    /// As [`read`](Self::read), up to the first byte that cannot be had. Returns
    /// how many bytes came.
    pub fn read_some(&self, start: VirtAddr, buf: &mut [u8]) -> usize {
        self.copy_out(start, buf).0
    }

    fn copy_out(&self, start: VirtAddr, buf: &mut [u8]) -> Copied {
        if let Err(fault) = self.bring_buffer(buf, MappingFlags::WRITE) {
            return (0, Err(fault));
        }
        self.process_area_data(start, buf.len(), MappingFlags::READ, |piece, done| {
            // SAFETY: the piece is `len` bytes of a mapped frame, which is not a
            // buffer that Rust code holds a reference to: see `process_area_data`.
            unsafe { ptr::copy(piece.bytes, buf[done..].as_mut_ptr(), piece.len) };
        })
    }

    /// As [`write`](Self::write), up to the first byte that cannot be had. Returns
    /// how many bytes went.
    pub fn write_some(&self, start: VirtAddr, buf: &[u8]) -> usize {
        self.copy_in(start, buf).0
    }

    fn copy_in(&self, start: VirtAddr, buf: &[u8]) -> Copied {
        if let Err(fault) = self.bring_buffer(buf, MappingFlags::READ) {
            return (0, Err(fault));
        }
        self.process_area_data(start, buf.len(), MappingFlags::WRITE, |piece, done| {
            // SAFETY: the piece is `len` bytes of a mapped frame, which is not a
            // buffer that Rust code holds a reference to: see `process_area_data`.
            unsafe { ptr::copy(buf[done..].as_ptr(), piece.bytes, piece.len) };
        })
    }

    /// The bytes from `start` up to the first 0, which is not among them, in the
    /// beginning of `buf`.
    ///
    /// # Errors
    ///
    /// `BadAddress` and `NoMemory` as for [`read`](Self::read); `InvalidInput` if `buf` is
    /// full and no 0 has come.
    pub fn read_cstr<'buf>(&self, start: VirtAddr, buf: &'buf mut [u8]) -> AxResult<&'buf [u8]> {
        self.bring_buffer(buf, MappingFlags::WRITE)?;
        let mut end = None;
        let room = buf.len();
        let mut done = 0;
        while done < room && end.is_none() {
            let vaddr = start.as_usize().checked_add(done);
            let vaddr = VirtAddr::from_usize(vaddr.ok_or(AxError::BadAddress)?);
            let copied = self.with_piece(vaddr, room - done, MappingFlags::READ, |piece| {
                let part = &mut buf[done..done + piece.len];
                // SAFETY: the piece is `len` bytes of a mapped frame, which is not a
                // buffer that Rust code holds a reference to: see `process_area_data`.
                unsafe { ptr::copy(piece.bytes, part.as_mut_ptr(), piece.len) };
                (part.iter().position(|byte| *byte == 0), piece.len)
            });
            let (zero, len) = copied?;
            end = zero.map(|offset| done + offset);
            done += len;
        }
        end.map(|end| &buf[..end]).ok_or(AxError::InvalidInput)
    }

    /// The value at `start`, at any alignment.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_val<T: AnyBitPattern>(&self, start: VirtAddr) -> AxResult<T> {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: the value's bytes, all of them zeroes so far.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>())
        };
        self.read(start, bytes)?;
        // SAFETY: any bytes are a `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// Puts `value` where `start` is, at any alignment.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn write_val<T: NoUninit>(&self, start: VirtAddr, value: &T) -> AxResult {
        self.write(start, bytemuck::bytes_of(value))
    }

    /// Brings the pages of a buffer of the kernel's that are this address space's, and
    /// not there yet.
    fn bring_buffer(&self, buf: &[u8], access: MappingFlags) -> Result<(), Fault> {
        let start = VirtAddr::from_ptr_of(buf.as_ptr()).align_down_4k();
        let end = buf.as_ptr() as usize + buf.len();
        let mut pages = (start.as_usize()..end).step_by(PAGE_SIZE_4K);
        pages.try_for_each(|page| {
            let vaddr = VirtAddr::from_usize(page);
            let comes_late = |area: &Area<Backend>| area.backing().owns_frames();
            let is_there = !self.area_at(vaddr).as_ref().is_some_and(comes_late)
                || self.query(vaddr).is_some();
            match is_there {
                true => Ok(()),
                false => self.fault(vaddr, access),
            }
        })
    }

    /// Calls `f` for each page's part of `size` bytes from `start` on, with the
    /// offset of the part, up to the first that may not be accessed. Returns how
    /// many bytes that were, and why not more.
    ///
    /// The frames are those of mappings. Nobody else in the kernel has a reference
    /// to their bytes: what they hold is only ever copied.
    fn process_area_data(
        &self,
        start: VirtAddr,
        size: usize,
        access: MappingFlags,
        mut f: impl FnMut(Piece, usize),
    ) -> Copied {
        let mut done = 0;
        while done < size {
            let Some(vaddr) = start.as_usize().checked_add(done) else {
                return (done, Err(Fault::Unmapped));
            };
            let piece = self.with_piece(vaddr.into(), size - done, access, |piece| {
                let len = piece.len;
                f(piece, done);
                len
            });
            match piece {
                Ok(len) => done += len,
                Err(fault) => return (done, Err(fault)),
            }
        }
        (done, Ok(()))
    }

    /// Calls `f` with what of `size` bytes from `vaddr` on lies in one small page, if that
    /// may be accessed. The page stays meanwhile.
    fn with_piece<R>(
        &self,
        vaddr: VirtAddr,
        size: usize,
        access: MappingFlags,
        f: impl FnOnce(Piece) -> R,
    ) -> Result<R, Fault> {
        if !self.may_copy(vaddr) {
            return Err(Fault::Denied);
        }
        loop {
            let pin = M::pin();
            let mut bringing = self.bringing(vaddr).ok_or(Fault::Nested)?;
            let Some(area) = self.area_for(&mut bringing, vaddr) else {
                drop((bringing, pin));
                self.area_for_certain(vaddr).ok_or(Fault::Unmapped)?;
                continue;
            };
            // Device registers are not memory, and need not be in the linear mapping. The
            // area says what they are: not every format has it in the page's entry.
            let flags = area.flags();
            if !flags.contains(access) || flags.contains(MappingFlags::DEVICE) {
                return Err(Fault::Denied);
            }
            if let Some(page) = self.table().query(vaddr)
                && page.flags.contains(access)
            {
                let offset = vaddr.as_usize() - page.vaddr.as_usize();
                let address = page.paddr.as_usize() + offset + PHYS_VIRT_OFFSET;
                return Ok(f(Piece {
                    bytes: ptr::with_exposed_provenance_mut(address),
                    len: size.min(PAGE_SIZE_4K - vaddr.align_offset_4k()),
                }));
            }
            drop((bringing, pin));
            self.fault(vaddr, access)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use memory_addr::PAGE_SIZE_4K as PAGE;

    use super::*;
    use crate::test_memory;

    const BASE: usize = 0x4000_0000;
    const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

    /// An address space with two lazy pages, a hole, a page that is read-only, and
    /// a last one that may be written again.
    fn space() -> AddrSpace {
        test_memory::give();
        let space = AddrSpace::new_empty(BASE.into(), 1 << 30).unwrap();
        let map = |page: usize, count: usize, flags| {
            let start = VirtAddr::from_usize(BASE + page * PAGE);
            space.map_alloc(start, count * PAGE, flags, false).unwrap();
        };
        map(0, 2, RW);
        map(3, 1, MappingFlags::READ);
        map(4, 1, RW);
        space
    }

    fn at(offset: usize) -> VirtAddr {
        VirtAddr::from_usize(BASE + offset)
    }

    #[test]
    fn what_is_written_across_pages_is_read_back() {
        let space = space();
        let text: Vec<u8> = (0..5000).map(|n| n as u8 ^ (n >> 8) as u8).collect();
        space.write(at(1234), &text).unwrap();
        let mut back = vec![0; text.len()];
        space.read(at(1234), &mut back).unwrap();
        assert_eq!(back, text);
        let mut before = [1; 1234];
        space.read(at(0), &mut before).unwrap();
        assert_eq!(before, [0; 1234], "an untouched byte reads as zero");
    }

    #[test]
    fn a_copy_ends_at_the_first_byte_that_cannot_be_had() {
        let space = space();
        let mut buf = [7; 3 * PAGE];
        assert_eq!(space.read_some(at(100), &mut buf), 2 * PAGE - 100);
        assert_eq!(space.read(at(100), &mut buf), Err(AxError::BadAddress));
        assert_eq!(space.read_some(at(2 * PAGE), &mut buf), 0, "a hole");
        assert_eq!(space.read_some(at(3 * PAGE), &mut buf), 2 * PAGE);
        assert_eq!(space.write_some(at(3 * PAGE), &buf), 0, "read-only");
        assert_eq!(space.write_some(at(PAGE + 1), &buf), PAGE - 1);
        assert_eq!(
            space.read_some(VirtAddr::from_usize(usize::MAX), &mut buf),
            0
        );
        assert_eq!(space.read(at(0), &mut []), Ok(()));
    }

    #[test]
    fn a_string_ends_at_its_zero_and_a_value_may_cross_pages() {
        let space = space();
        space.write(at(PAGE - 3), b"tessera\0more").unwrap();
        let mut buf = [0; 64];
        let text = space.read_cstr(at(PAGE - 3), &mut buf);
        assert_eq!(text, Ok(&b"tessera"[..]));
        let text = space
            .read_cstr(at(PAGE - 3), &mut buf[..7])
            .map(<[u8]>::len);
        assert_eq!(text, Err(AxError::InvalidInput), "no room to see the zero");
        space.write(at(2 * PAGE - 4), b"0123").unwrap();
        let text = space.read_cstr(at(2 * PAGE - 4), &mut buf).map(<[u8]>::len);
        assert_eq!(text, Err(AxError::BadAddress), "no zero before the hole");
        space
            .write_val(at(PAGE - 3), &0x0123_4567_89ab_cdef_u64)
            .unwrap();
        assert_eq!(space.read_val(at(PAGE - 3)), Ok(0x0123_4567_89ab_cdef_u64));
        let value = space.read_val::<u64>(at(2 * PAGE - 4));
        assert_eq!(value, Err(AxError::BadAddress));
    }
}
