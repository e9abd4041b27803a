//! Mappings in the kernel's address space, which are unmapped when they are dropped.

use alloc::vec::Vec;
use core::ops::Range;

use axfeat::axalloc::{AxError, AxResult, SharedFrames};
use axfeat::axhal::mem::is_device;
use axfeat::axmm::{AddrSpace, KERNEL_OWNED_BASE, PhysAddr, VirtAddr, VirtAddrRange};
pub use axfeat::axmm::{MappingFlags, kernel_aspace};

/// The size of a page in bytes.
const PAGE: usize = 4096;

/// A mapped range of the kernel's address space. Dropping the mapping unmaps the pieces that
/// [`unmap`](Self::unmap) has left. Nothing else unmaps it, changes its rights, or copies
/// bytes into it.
///
/// Sizes and offsets are in bytes and must be multiples of 4 KiB.
#[derive(Debug)]
pub struct Mapping {
    start: VirtAddr,
    size: usize,
    /// The ranges of offsets that are still mapped, in any order. Addresses that have been
    /// unmapped may belong to another mapping by now.
    pieces: Vec<Range<usize>>,
    /// The frames of a linear mapping. `None` if the frames belong to the address space or
    /// the addresses to a device.
    frames: Option<SharedFrames>,
}

impl Mapping {
    /// Maps `size` bytes of zeroed memory with the rights `flags`. Each page gets its frame
    /// when it is first accessed.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the size is 0 or not a multiple of 4 KiB, or if the machine does not
    ///   support the rights.
    /// - `NoMemory` if there is no memory for tables or no free range of addresses.
    pub fn lazy(size: usize, flags: MappingFlags) -> AxResult<Self> {
        Self::map(size, PAGE, |aspace, start| {
            aspace.map_alloc(start, size, flags, false)
        })
    }

    /// Maps `size` bytes of zeroed memory with the rights `flags`. All pages get their frames
    /// now.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the size is 0 or not a multiple of 4 KiB, or if the machine does not
    ///   support the rights.
    /// - `NoMemory` if there is no memory for frames or tables, or no free range of addresses.
    pub fn populated(size: usize, flags: MappingFlags) -> AxResult<Self> {
        Self::map(size, PAGE, |aspace, start| {
            aspace.map_alloc(start, size, flags, true)
        })
    }

    /// Maps all of `frames` with the rights `flags`. Virtual and physical address have the same
    /// offset within 2 MiB, so that large pages can be used. The mapping becomes one of the
    /// frames' owners. The frames are freed after the last owner has been dropped.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the machine does not support the rights.
    /// - `NoMemory` if there is no memory for tables or no free range of addresses.
    ///
    /// `frames` is dropped then.
    pub fn linear(frames: SharedFrames, flags: MappingFlags) -> AxResult<Self> {
        let (paddr, size) = (frames.start(), frames.count() * PAGE);
        // SAFETY: no Rust reference points to the memory of `SharedFrames`. The mapping owns
        // them until it has unmapped them.
        let mut mapping = unsafe { Self::physical(paddr, size, flags)? };
        mapping.frames = Some(frames);
        Ok(mapping)
    }

    /// Maps the registers of a device: `size` bytes of physical addresses from `paddr` on.
    /// They are uncached, readable and writable. Virtual and physical address have the same
    /// offset within 2 MiB. The kernel's own driver may use the registers at the same time.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range does not consist of whole pages, or if a part of it is not
    ///   known to be a device's.
    /// - `NoMemory` if there is no memory for tables or no free range of addresses.
    pub fn device(paddr: usize, size: usize) -> AxResult<Self> {
        if !is_device(paddr, size) {
            return Err(AxError::InvalidInput);
        }
        let flags = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::DEVICE;
        // SAFETY: `is_device` has found that the range holds device registers. They are not
        // memory, so no Rust reference points to them.
        unsafe { Self::physical(paddr.into(), size, flags) }
    }

    /// Maps `size` bytes of physical addresses from `paddr` on. Virtual and physical address
    /// have the same offset within 2 MiB.
    ///
    /// # Safety
    ///
    /// The requirements of [`AddrSpace::map_linear`] must hold.
    unsafe fn physical(paddr: PhysAddr, size: usize, flags: MappingFlags) -> AxResult<Self> {
        const ALIGN: usize = 2 << 20;
        let offset = paddr.as_usize() % ALIGN;
        let padded = offset.checked_add(size).ok_or(AxError::InvalidInput)?;
        let mut mapping = Self::map(padded, ALIGN, |aspace, start| {
            // SAFETY: the caller promises that the requirements of `map_linear` hold.
            unsafe { aspace.map_linear(start + offset, paddr, size, flags) }
        })?;
        mapping.start += offset;
        mapping.size = size;
        mapping.pieces[0] = 0..size;
        Ok(mapping)
    }

    /// Finds a free range for `size` bytes at a multiple of `align`, and calls `map` with its
    /// start. Tries again if another hart has mapped the range in between.
    fn map(
        size: usize,
        align: usize,
        map: impl Fn(&AddrSpace, VirtAddr) -> AxResult,
    ) -> AxResult<Self> {
        if size == 0 || !size.is_multiple_of(PAGE) {
            return Err(AxError::InvalidInput);
        }
        let size_with_padding = size
            .checked_add(align - PAGE)
            .ok_or(AxError::InvalidInput)?;
        let mut pieces = Vec::new();
        pieces.try_reserve(1).map_err(|_| AxError::NoMemory)?;
        pieces.push(0..size);
        let base = VirtAddr::from_usize(KERNEL_OWNED_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let found = aspace.find_free_in_arena(size_with_padding, limit);
            let found = found.ok_or(AxError::NoMemory)?;
            let start = VirtAddr::from_usize(found.as_usize().next_multiple_of(align));
            match map(aspace, start) {
                Err(AxError::AlreadyExists) => {}
                mapped => {
                    return mapped.map(|()| Self {
                        start,
                        size,
                        pieces,
                        frames: None,
                    });
                }
            }
        }
    }

    /// Returns the first address.
    pub fn start(&self) -> usize {
        self.start.as_usize()
    }

    /// Returns the size in bytes that was mapped, without regard to later unmaps.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Changes the rights of `size` bytes from `offset` on to `flags`.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range is not within the mapping, or if the machine does not
    ///   support the rights.
    /// - `NotFound` if a part of the range has been unmapped.
    /// - `NoMemory` if there is no memory to split a table or an area.
    ///
    /// Nothing has changed then.
    pub fn protect(&mut self, offset: usize, size: usize, flags: MappingFlags) -> AxResult {
        self.piece_with(offset, size)?;
        // SAFETY: this mapping owns the piece exclusively, as `piece_with` has checked. It
        // gives out no references to the memory, and is borrowed mutably here.
        unsafe { kernel_aspace().protect_owned(self.start + offset, size, flags) }
    }

    /// Unmaps `size` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range is not within the mapping.
    /// - `NotFound` if a part of the range has been unmapped.
    /// - `NoMemory` if there is no memory to split a table or an area.
    ///
    /// Nothing has changed then.
    pub fn unmap(&mut self, offset: usize, size: usize) -> AxResult {
        let index = self.piece_with(offset, size)?;
        self.pieces.try_reserve(1).map_err(|_| AxError::NoMemory)?;
        // SAFETY: this mapping owns the piece exclusively, as `piece_with` has checked. It
        // gives out no references to the memory, and is borrowed mutably here.
        unsafe { kernel_aspace().unmap_owned(self.start + offset, size)? };
        let piece = self.pieces.swap_remove(index);
        let sides = [piece.start..offset, offset + size..piece.end];
        self.pieces
            .extend(sides.into_iter().filter(|side| !side.is_empty()));
        Ok(())
    }

    /// Unmaps all pieces in one operation, so that other harts flush them in one shootdown.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a piece is in an area that also covers another `Mapping` beside it.
    /// Nothing has changed then.
    fn unmap_together(&mut self) -> AxResult {
        self.pieces.sort_unstable_by_key(|piece| piece.start);
        let start = self.start;
        let pieces = self.pieces.iter();
        let pieces = pieces.map(|piece| start + piece.start..start + piece.end);
        // SAFETY: this mapping owns the pieces exclusively. It is being dropped, so nothing
        // borrows it.
        unsafe { kernel_aspace().unmap_each(pieces) }
    }

    /// Returns the index of the piece that contains the whole range.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range is not within the mapping.
    /// - `NotFound` if a part of the range has been unmapped.
    fn piece_with(&self, offset: usize, size: usize) -> AxResult<usize> {
        let end = offset.checked_add(size).filter(|end| *end <= self.size);
        let end = end.ok_or(AxError::InvalidInput)?;
        let holds = |piece: &Range<usize>| piece.start <= offset && end <= piece.end;
        self.pieces.iter().position(holds).ok_or(AxError::NotFound)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.pieces.len() > 1 && self.unmap_together().is_ok() {
            return;
        }
        for piece in &self.pieces {
            let start = self.start + piece.start;
            // SAFETY: this mapping owns the piece exclusively. It is being dropped, so nothing
            // borrows it.
            let result = unsafe { kernel_aspace().unmap_owned(start, piece.len()) };
            if let Err(error) = result {
                // The pages stay mapped, so their frames must not be freed.
                core::mem::forget(self.frames.take());
                axfeat::axlog::warn!("the mapping at {start:#x} stays mapped: {error:?}");
            }
        }
    }
}
