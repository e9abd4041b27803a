//! Copying into and out of an address space, whichever one is loaded.
//!
//! A copy goes page by page through the kernel's linear mapping of physical memory. A page
//! that has no frame yet gets one, and rights are respected, as if the access had been
//! made by an instruction in that address space. The copy ends at the first byte that
//! such an instruction could not have accessed.
//!
//! The hart holds its fault slot while it copies a page, so the page stays mapped. A page fault
//! of the copy itself must not wait for other harts, which may wait for the slot. If it is not
//! handled at once, the copy of this page ends ([`Machine::copy`]).
//!
//! - Where the caller's buffer has faulted, the copy goes on through a few bytes on the
//!   stack. They are moved from or to the buffer while the fault slot is empty, by accesses that
//!   may take any fault: of a lazy page, a stale translation, or another address space.
//! - Where the frame has faulted, there is no memory at the physical address of an area
//!   with a linear backend, or the kernel's linear mapping does not reach it. The copy ends.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{Ordering, fence};

use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};
use bytemuck::{AnyBitPattern, NoUninit};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::fault::Fault;
use super::space::AddrSpace;
use crate::machine::Machine;

/// Bytes that are copied through the stack at a time, after the caller's buffer has faulted.
const BOUNCE: usize = 64;

/// A part of a copy that lies in one page.
struct Piece {
    /// Where the page's bytes are in the kernel's linear mapping.
    bytes: *mut u8,
    len: usize,
    paddr: PhysAddr,
    /// Whether the page may be executed.
    is_code: bool,
}

impl Piece {
    /// Writes the beginning of `from` here. Returns how many bytes.
    ///
    /// # Safety
    ///
    /// The promise of [`Machine::copy`] holds for `len` bytes at `from` and at `bytes`.
    unsafe fn write<M: Machine>(&self, from: *const u8) -> usize {
        // SAFETY: the caller's promise.
        let count = unsafe { M::copy(from, self.bytes, self.len) };
        if self.is_code {
            M::clean_code(self.paddr, count);
            M::sync_icache();
        }
        count
    }
}

/// How many bytes were copied, and why not more.
type Copied = (usize, Result<(), Fault>);

impl<M: Machine> AddrSpace<M> {
    /// Fills `buf` with the bytes from `start` on.
    ///
    /// # Errors
    ///
    /// `BadAddress` if some of the bytes may not be read, or if a page fault for them would be
    /// [`Fault::Nested`]. `NoMemory` if there is no frame for one of their pages. The bytes before
    /// the first that fails are in `buf`. [`read_some`](Self::read_some) returns their number.
    pub fn read(&self, start: VirtAddr, buf: &mut [u8]) -> AxResult {
        Ok(self.read_pieces(start, buf).1?)
    }

    /// Copies `buf` to `start`. If the pages are executable, instruction fetches of every hart
    /// see the bytes.
    ///
    /// # Errors
    ///
    /// `BadAddress` if some of the bytes there may not be written, or if a page fault for them
    /// would be [`Fault::Nested`]. `NoMemory` if there is no frame for one of their pages. The
    /// bytes before the first that fails have been written. [`write_some`](Self::write_some)
    /// returns their number.
    pub fn write(&self, start: VirtAddr, buf: &[u8]) -> AxResult {
        Ok(self.write_pieces(start, buf).1?)
    }

    /// Fills `buf` with the bytes from `start` on, up to the first that may not be read. Returns
    /// how many bytes were read.
    pub fn read_some(&self, start: VirtAddr, buf: &mut [u8]) -> usize {
        self.read_pieces(start, buf).0
    }

    fn read_pieces(&self, start: VirtAddr, buf: &mut [u8]) -> Copied {
        piece_by_piece(start, buf.len(), |vaddr, done| {
            self.read_piece(vaddr, &mut buf[done..])
        })
    }

    /// Copies `buf` to `start`, up to the first byte that may not be written. Returns how many
    /// bytes were written.
    pub fn write_some(&self, start: VirtAddr, buf: &[u8]) -> usize {
        self.write_pieces(start, buf).0
    }

    fn write_pieces(&self, start: VirtAddr, buf: &[u8]) -> Copied {
        piece_by_piece(start, buf.len(), |vaddr, done| {
            self.write_piece(vaddr, &buf[done..])
        })
    }

    /// Reads the string at `start`, which ends with a byte 0, into `buf`. Returns the string
    /// without the 0.
    ///
    /// # Errors
    ///
    /// `BadAddress` and `NoMemory` as for [`read`](Self::read). `InvalidInput` if `buf` is full
    /// before the byte 0.
    pub fn read_cstr<'buf>(&self, start: VirtAddr, buf: &'buf mut [u8]) -> AxResult<&'buf [u8]> {
        let mut end = None;
        let (_, copied) = piece_by_piece(start, buf.len(), |vaddr, done| {
            if end.is_some() {
                return Ok(0);
            }
            let count = self.read_piece(vaddr, &mut buf[done..])?;
            let zero = buf[done..done + count].iter().position(|byte| *byte == 0);
            end = zero.map(|offset| done + offset);
            Ok(count)
        });
        copied?;
        end.map(|end| &buf[..end]).ok_or(AxError::InvalidInput)
    }

    /// Returns the value at `start`, at any alignment.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn read_val<T: AnyBitPattern>(&self, start: VirtAddr) -> AxResult<T> {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: `value` has this many bytes, which are initialized to zeroes.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>())
        };
        self.read(start, bytes)?;
        // SAFETY: `AnyBitPattern` promises that any initialized bytes are a valid `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// Copies `value` to `start`, at any alignment.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn write_val<T: NoUninit>(&self, start: VirtAddr, value: &T) -> AxResult {
        self.write(start, bytemuck::bytes_of(value))
    }

    /// Fills the beginning of `buf`, which is not empty, with bytes of one page from
    /// `vaddr` on. Returns how many.
    fn read_piece(&self, vaddr: VirtAddr, buf: &mut [u8]) -> Result<usize, Fault> {
        match self.read_at_once(vaddr, buf) {
            Ok(0) => self.read_bounced(vaddr, buf),
            direct => direct,
        }
    }

    /// Reads a piece straight into `buf`: 0 bytes if the buffer, or the frame, faults.
    fn read_at_once(&self, vaddr: VirtAddr, buf: &mut [u8]) -> Result<usize, Fault> {
        self.with_piece(vaddr, buf.len(), MappingFlags::READ, |piece| {
            // SAFETY: `bytes` is `len` bytes of a mapped frame, which no Rust code holds
            // a reference to (`with_piece`); `buf` has room for them.
            unsafe { M::copy(piece.bytes, buf.as_mut_ptr(), piece.len) }
        })
    }

    /// Reads a piece through a buffer on the stack, which does not fault.
    #[cold]
    fn read_bounced(&self, vaddr: VirtAddr, buf: &mut [u8]) -> Result<usize, Fault> {
        let mut bounce = [0; BOUNCE];
        let size = buf.len().min(BOUNCE);
        let count = require_bytes(self.read_at_once(vaddr, &mut bounce[..size])?)?;
        buf[..count].copy_from_slice(&bounce[..count]);
        Ok(count)
    }

    /// Copies the beginning of `buf`, which is not empty, to bytes of one page from `vaddr`
    /// on. Returns how many.
    fn write_piece(&self, vaddr: VirtAddr, buf: &[u8]) -> Result<usize, Fault> {
        match self.write_at_once(vaddr, buf) {
            Ok(0) => self.write_bounced(vaddr, buf),
            direct => direct,
        }
    }

    /// Writes a piece straight from `buf`: 0 bytes if the buffer, or the frame, faults.
    fn write_at_once(&self, vaddr: VirtAddr, buf: &[u8]) -> Result<usize, Fault> {
        self.with_piece(vaddr, buf.len(), MappingFlags::WRITE, |piece| {
            // SAFETY: `bytes` is `len` bytes of a mapped frame, which no Rust code holds
            // a reference to (`with_piece`); `buf` has as many.
            unsafe { piece.write::<M>(buf.as_ptr()) }
        })
    }

    /// Writes a piece through a buffer on the stack, which does not fault.
    #[cold]
    fn write_bounced(&self, vaddr: VirtAddr, buf: &[u8]) -> Result<usize, Fault> {
        let mut bounce = [0; BOUNCE];
        let size = buf.len().min(BOUNCE);
        bounce[..size].copy_from_slice(&buf[..size]);
        require_bytes(self.write_at_once(vaddr, &bounce[..size])?)
    }

    /// Calls `f` with the part of `size` bytes from `vaddr` on that lies in one small page,
    /// if it may be accessed. The page stays mapped meanwhile.
    ///
    /// The address is neither fixed nor owned ([`may_copy`](Self::may_copy)). So no Rust code in
    /// the kernel has a reference to the bytes of its frame, which are only ever copied.
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
            let mut held = self.fault_slot(vaddr)?;
            // The entry is read after the slot was taken. Pairs with the accesses of a fault that
            // replaces the page: it takes the rights away, and then looks for slots
            // (`copy_in_fault`). So this finds no rights, or that fault finds the slot.
            fence(Ordering::SeqCst);
            let Some(area) = self.area_for(&mut held.slot, vaddr) else {
                drop(held);
                self.area_under_lock(vaddr).ok_or(Fault::Unmapped)?;
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
                let paddr = page.paddr + (vaddr.as_usize() - page.vaddr.as_usize());
                return Ok(f(Piece {
                    bytes: in_linear_mapping(paddr).ok_or(Fault::Unmapped)?,
                    paddr,
                    is_code: flags.contains(MappingFlags::EXECUTE),
                    len: size.min(PAGE_SIZE_4K - vaddr.align_offset_4k()),
                }));
            }
            drop(held);
            self.fault(vaddr, access)?;
        }
    }
}

/// Where the byte at a physical address is in the kernel's linear mapping; `None` beyond its
/// end. A page lies in it as a whole, or not at all.
fn in_linear_mapping(paddr: PhysAddr) -> Option<*mut u8> {
    let paddr = paddr.as_usize();
    (paddr < MAX_PHYS).then(|| ptr::with_exposed_provenance_mut(PHYS_VIRT_OFFSET + paddr))
}

/// Returns the `count` of bytes that were copied through the stack. 0 bytes are an error: the stack
/// itself does not fault, so there is no memory behind the page.
fn require_bytes(count: usize) -> Result<usize, Fault> {
    match count {
        0 => Err(Fault::Unmapped),
        count => Ok(count),
    }
}

/// Calls `copy` with an address and its offset until `size` bytes from `start` on are copied, or
/// until `copy` copies no byte. Returns how many bytes were copied, and why not more.
fn piece_by_piece(
    start: VirtAddr,
    size: usize,
    mut copy: impl FnMut(VirtAddr, usize) -> Result<usize, Fault>,
) -> Copied {
    let mut done = 0;
    while done < size {
        let Some(vaddr) = start.as_usize().checked_add(done) else {
            return (done, Err(Fault::Unmapped));
        };
        match copy(VirtAddr::from_usize(vaddr), done) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(fault) => return (done, Err(fault)),
        }
    }
    (done, Ok(()))
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
        test_memory::add_once();
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
