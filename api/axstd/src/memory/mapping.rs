//! Mappings in the kernel's address space, which go when their owner does.

use alloc::vec::Vec;
use core::ops::Range;

use axfeat::axalloc::{AxError, AxResult, SharedFrames};
use axfeat::axhal::mem::is_device;
use axfeat::axmm::{AddrSpace, KERNEL_OWNED_BASE, PhysAddr, VirtAddr, VirtAddrRange};
pub use axfeat::axmm::{MappingFlags, kernel_aspace};

/// A page of any mapping: 4 KiB.
const PAGE: usize = 4096;

/// A range of the kernel's address space that is mapped; what is left of it is
/// unmapped when this goes. Nothing else unmaps it, changes its rights, or copies bytes
/// into it.
///
/// Sizes and offsets are in bytes and must be multiples of 4 KiB.
#[derive(Debug)]
pub struct Mapping {
    start: VirtAddr,
    size: usize,
    /// The offsets that are still this mapping's, in no order. What has been
    /// unmapped may be somebody else's by now.
    left: Vec<Range<usize>>,
    /// The frames behind it, if they are not the address space's own or a device's.
    frames: Option<SharedFrames>,
}

impl Mapping {
    /// Fresh memory full of zeroes, each page of which takes a frame when it is
    /// first touched.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a size or rights that cannot be; `NoMemory`.
    pub fn lazy(size: usize, flags: MappingFlags) -> AxResult<Self> {
        Self::map(size, PAGE, |aspace, start| {
            aspace.map_alloc(start, size, flags, false)
        })
    }

    /// Fresh memory full of zeroes, with all its frames.
    ///
    /// # Errors
    ///
    /// As [`lazy`](Self::lazy).
    pub fn populated(size: usize, flags: MappingFlags) -> AxResult<Self> {
        Self::map(size, PAGE, |aspace, start| {
            aspace.map_alloc(start, size, flags, true)
        })
    }

    /// All of `frames`, at an address with the same offset into 2 MiB. The mapping is one
    /// of their owners: they go when it has gone, and the last of the other owners.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for rights that cannot be; `NoMemory`. This owner of `frames` is
    /// gone then.
    pub fn linear(frames: SharedFrames, flags: MappingFlags) -> AxResult<Self> {
        let (paddr, size) = (frames.start(), frames.count() * PAGE);
        // SAFETY: frames with counted owners are reached by no reference, and the mapping
        // keeps them until it has unmapped them.
        let mut mapping = unsafe { Self::physical(paddr, size, flags)? };
        mapping.frames = Some(frames);
        Ok(mapping)
    }

    /// The registers of a device: the physical addresses from `paddr` on, uncached,
    /// readable and writable, at an address with the same offset into 2 MiB. The kernel's
    /// own driver may use them at the same time.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a range that is not wholly a device's, as far as the machine has
    /// told the kernel, or not of whole pages; `NoMemory`.
    pub fn device(paddr: usize, size: usize) -> AxResult<Self> {
        if !is_device(paddr, size) {
            return Err(AxError::InvalidInput);
        }
        let flags = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::DEVICE;
        // SAFETY: device registers are not memory: no reference leads to them, and nothing
        // is copied through a device's mapping.
        unsafe { Self::physical(paddr.into(), size, flags) }
    }

    /// The physical addresses from `paddr` on.
    ///
    /// # Safety
    ///
    /// As for [`AddrSpace::map_linear`].
    unsafe fn physical(paddr: PhysAddr, size: usize, flags: MappingFlags) -> AxResult<Self> {
        const ALIGN: usize = 2 << 20;
        let offset = paddr.as_usize() % ALIGN;
        let padded = offset.checked_add(size).ok_or(AxError::InvalidInput)?;
        let mut mapping = Self::map(padded, ALIGN, |aspace, start| {
            // SAFETY: the caller's promise is this function's requirement.
            unsafe { aspace.map_linear(start + offset, paddr, size, flags) }
        })?;
        mapping.start += offset;
        mapping.size = size;
        mapping.left[0] = 0..size;
        Ok(mapping)
    }

    /// Finds room and maps there; again, if another was faster.
    fn map(
        size: usize,
        align: usize,
        map: impl Fn(&AddrSpace, VirtAddr) -> AxResult,
    ) -> AxResult<Self> {
        if size == 0 || !size.is_multiple_of(PAGE) {
            return Err(AxError::InvalidInput);
        }
        let room = size
            .checked_add(align - PAGE)
            .ok_or(AxError::InvalidInput)?;
        let mut left = Vec::new();
        left.try_reserve(1).map_err(|_| AxError::NoMemory)?;
        left.push(0..size);
        let base = VirtAddr::from_usize(KERNEL_OWNED_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let found = aspace.find_free_arena(room, limit);
            let found = found.ok_or(AxError::NoMemory)?;
            let start = VirtAddr::from_usize(found.as_usize().next_multiple_of(align));
            match map(aspace, start) {
                Err(AxError::AlreadyExists) => {}
                mapped => {
                    return mapped.map(|()| Self {
                        start,
                        size,
                        left,
                        frames: None,
                    });
                }
            }
        }
    }

    /// The first address.
    pub fn start(&self) -> usize {
        self.start.as_usize()
    }

    /// The bytes that were mapped.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Gives `size` bytes from `offset` on the rights `flags`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range is not within the mapping or the rights cannot
    /// be; `NotFound` if some of it has been unmapped; `NoMemory`. Nothing has
    /// changed then.
    pub fn protect(&mut self, offset: usize, size: usize, flags: MappingFlags) -> AxResult {
        self.piece_with(offset, size)?;
        // SAFETY: this mapping owns the piece. It hands out no references, and code that
        // makes some borrows it for that long.
        unsafe { kernel_aspace().protect_owned(self.start + offset, size, flags) }
    }

    /// Unmaps `size` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`protect`](Self::protect).
    pub fn unmap(&mut self, offset: usize, size: usize) -> AxResult {
        let index = self.piece_with(offset, size)?;
        self.left.try_reserve(1).map_err(|_| AxError::NoMemory)?;
        // SAFETY: this mapping owns the piece. It hands out no references, and code that
        // makes some borrows it for that long.
        unsafe { kernel_aspace().unmap_owned(self.start + offset, size)? };
        let piece = self.left.swap_remove(index);
        let sides = [piece.start..offset, offset + size..piece.end];
        self.left
            .extend(sides.into_iter().filter(|side| !side.is_empty()));
        Ok(())
    }

    /// Unmaps all pieces in one operation, so that every hart forgets them at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if one is a part of an area, together with a neighbour's mapping. Nothing
    /// has changed then.
    fn unmap_at_once(&mut self) -> AxResult {
        self.left.sort_unstable_by_key(|piece| piece.start);
        let start = self.start;
        let pieces = self.left.iter();
        let pieces = pieces.map(|piece| start + piece.start..start + piece.end);
        // SAFETY: this mapping owns the pieces, and goes: nothing borrows it.
        unsafe { kernel_aspace().unmap_each(pieces) }
    }

    /// Which piece of what is left holds the whole range.
    fn piece_with(&self, offset: usize, size: usize) -> AxResult<usize> {
        let end = offset.checked_add(size).filter(|end| *end <= self.size);
        let end = end.ok_or(AxError::InvalidInput)?;
        let holds = |piece: &Range<usize>| piece.start <= offset && end <= piece.end;
        self.left.iter().position(holds).ok_or(AxError::NotFound)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.left.len() > 1 && self.unmap_at_once().is_ok() {
            return;
        }
        for piece in &self.left {
            let start = self.start + piece.start;
            // SAFETY: this mapping owns the piece, and goes: nothing borrows it.
            let result = unsafe { kernel_aspace().unmap_owned(start, piece.len()) };
            if let Err(error) = result {
                // What stays mapped keeps its frames.
                core::mem::forget(self.frames.take());
                axfeat::axlog::warn!("a mapping at {start:#x} stays: {error:?}");
            }
        }
    }
}
