//! Mappings in the kernel's address space, which go when their owner does.

use alloc::vec::Vec;
use core::ops::Range;

use axfeat::axalloc::{AxError, AxResult};
use axfeat::axmm::{AddrSpace, VirtAddr, VirtAddrRange};
pub use axfeat::axmm::{MappingFlags, kernel_aspace};

/// A page of any mapping: 4 KiB.
const PAGE: usize = 4096;

/// A range of the kernel's address space that is mapped; what is left of it is
/// unmapped when this goes.
///
/// Sizes and offsets are in bytes and must be multiples of 4 KiB.
#[derive(Debug)]
pub struct Mapping {
    start: VirtAddr,
    size: usize,
    /// The offsets that are still this mapping's, in no order. What has been
    /// unmapped may be somebody else's by now.
    left: Vec<Range<usize>>,
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

    /// The physical memory from `paddr` on, which is somebody's for longer than
    /// the mapping lasts, at an address with the same offset into 2 MiB.
    ///
    /// # Errors
    ///
    /// As [`lazy`](Self::lazy); `InvalidInput` also for `paddr`.
    pub fn linear(paddr: usize, size: usize, flags: MappingFlags) -> AxResult<Self> {
        const ALIGN: usize = 2 << 20;
        let offset = paddr % ALIGN;
        let padded = offset.checked_add(size).ok_or(AxError::InvalidInput)?;
        let mut mapping = Self::map(padded, ALIGN, |aspace, start| {
            aspace.map_linear(start + offset, paddr.into(), size, flags)
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
        let base = VirtAddr::from_usize(axfeat::axmm::KERNEL_MAP_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let found = aspace.find_free_area(base, room, limit);
            let found = found.ok_or(AxError::NoMemory)?;
            let start = VirtAddr::from_usize(found.as_usize().next_multiple_of(align));
            match map(aspace, start) {
                Err(AxError::AlreadyExists) => {}
                mapped => return mapped.map(|()| Self { start, size, left }),
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
        kernel_aspace().protect(self.start + offset, size, flags)
    }

    /// Unmaps `size` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`protect`](Self::protect).
    pub fn unmap(&mut self, offset: usize, size: usize) -> AxResult {
        let index = self.piece_with(offset, size)?;
        self.left.try_reserve(1).map_err(|_| AxError::NoMemory)?;
        kernel_aspace().unmap(self.start + offset, size)?;
        let piece = self.left.swap_remove(index);
        let sides = [piece.start..offset, offset + size..piece.end];
        self.left
            .extend(sides.into_iter().filter(|side| !side.is_empty()));
        Ok(())
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
        for piece in &self.left {
            let start = self.start + piece.start;
            let result = kernel_aspace().unmap(start, piece.len());
            if let Err(error) = result {
                axfeat::axlog::warn!("a mapping at {start:#x} stays: {error:?}");
            }
        }
    }
}
