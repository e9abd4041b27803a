//! Programs: ELF files whose segments are memory objects.
//!
//! A segment is read once. Each process maps a copy-on-write clone of it. So beginning a program
//! copies nothing, and a page that no process writes has one frame for all of them.

use alloc::vec::Vec;

use axconfig::USER_END;
use axerrno::{AxError, AxResult};
use axmm::MappingFlags;
use axmm::vmo::Vmo;
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, EM_LOONGARCH, EM_RISCV, EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use memory_addr::{MemoryAddr, VirtAddr};

use crate::space::UserSpace;

/// The machine that programs must be for (ELF, `e_machine`).
const MACHINE: u16 = if cfg!(target_arch = "riscv64") {
    EM_RISCV
} else if cfg!(target_arch = "x86_64") {
    EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    EM_AARCH64
} else {
    EM_LOONGARCH
};

/// A statically linked program at fixed addresses.
pub struct Program {
    entry: usize,
    segments: Vec<Segment>,
}

/// A segment of a program, in whole pages.
struct Segment {
    start: VirtAddr,
    flags: MappingFlags,
    contents: Vmo,
}

impl Program {
    /// Reads a program from an ELF file.
    ///
    /// # Errors
    ///
    /// - `InvalidExecutable` if `file` is not an ELF file of an executable for this machine, if it
    ///   has nothing to load, or if a segment cannot be read or does not lie in the lower half.
    /// - `NoMemory`.
    pub fn load(file: &[u8]) -> AxResult<Self> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file);
        let elf = elf.map_err(|_| AxError::InvalidExecutable)?;
        let headers = elf.segments().ok_or(AxError::InvalidExecutable)?;
        if elf.ehdr.e_machine != MACHINE || elf.ehdr.e_type != ET_EXEC {
            return Err(AxError::InvalidExecutable);
        }
        let mut segments = Vec::new();
        for header in headers.iter().filter(|header| header.p_type == PT_LOAD) {
            if header.p_memsz == 0 {
                continue;
            }
            let data = elf.segment_data(&header);
            let data = data.map_err(|_| AxError::InvalidExecutable)?;
            let reserved = segments.try_reserve(1);
            reserved.map_err(|_| AxError::NoMemory)?;
            segments.push(Segment::load(&header, data)?);
        }
        if segments.is_empty() {
            return Err(AxError::InvalidExecutable);
        }
        let entry = elf.ehdr.e_entry as usize;
        Ok(Self { entry, segments })
    }

    /// Returns the address at which the program begins.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Returns the end of the last segment, a multiple of 4 KiB.
    pub fn end(&self) -> usize {
        let ends = self.segments.iter().map(Segment::end);
        ends.max().unwrap_or(0)
    }

    /// Maps all segments. If that fails, some may be mapped: the caller drops the address space.
    ///
    /// # Errors
    ///
    /// - `NoMemory`.
    /// - `AlreadyExists` if two segments share a page.
    /// - `InvalidInput` if a segment does not lie in the address space.
    pub fn map_into(&self, space: &UserSpace) -> AxResult {
        self.segments
            .iter()
            .try_for_each(|segment| space.map_copy(segment.start, &segment.contents, segment.flags))
    }
}

impl Segment {
    fn load(header: &ProgramHeader, data: &[u8]) -> AxResult<Self> {
        let (first, size) = (header.p_vaddr as usize, header.p_memsz as usize);
        let end = first.checked_add(size).filter(|end| *end <= USER_END);
        let end = end.ok_or(AxError::InvalidExecutable)?;
        // Not every machine has pages that can be written or executed but not read.
        if data.len() > size || header.p_flags & PF_R == 0 {
            return Err(AxError::InvalidExecutable);
        }
        let start = VirtAddr::from_usize(first).align_down_4k();
        let len = VirtAddr::from_usize(end).align_up_4k() - start;
        let contents = Vmo::new_paged(len)?;
        contents.write(first - start.as_usize(), data)?;
        Ok(Self {
            start,
            flags: rights(header.p_flags),
            contents,
        })
    }

    fn end(&self) -> usize {
        self.start.as_usize() + self.contents.len()
    }
}

/// Returns the rights of a segment with the flags `p_flags` of ELF.
fn rights(p_flags: u32) -> MappingFlags {
    let mut rights = MappingFlags::empty();
    for (flag, right) in [
        (PF_R, MappingFlags::READ),
        (PF_W, MappingFlags::WRITE),
        (PF_X, MappingFlags::EXECUTE),
    ] {
        rights.set(right, p_flags & flag != 0);
    }
    rights
}
