//! The kernel image: its sections, and where it lies in physical memory.

use axconfig::{PAGE_SIZE, hart_stack};
use axplat::mem::{MemRegionFlags as Flags, PhysAddr, RawRange, virt_to_phys};

/// Whether the kernel image lies in physical memory. In a Linux process it does not. There
/// Linux has mapped each section with its rights, outside of what the kernel maps.
pub const IMAGE_IS_IN_RAM: bool = cfg!(target_os = "none");

unsafe extern "C" {
    static _skernel: u8;
    static _stext: u8;
    static _etext: u8;
    static _srodata: u8;
    static _erodata: u8;
    static _sdata: u8;
    static _ebss: u8;
    static _stack: u8;
    static _ekernel: u8;
}

/// A part of the kernel image: its virtual addresses and its rights.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name: `.text`, `.rodata`, `.data` or `stack`.
    pub name: &'static str,
    /// The first virtual address, page-aligned.
    pub start: usize,
    /// The end of the virtual addresses, exclusive and page-aligned.
    pub end: usize,
    /// The rights that the section is mapped with.
    pub flags: Flags,
}

/// Returns the parts of the kernel image, and the first hart's stack.
pub fn sections() -> [Section; 4] {
    let section = |name, start: *const u8, end: *const u8, flags| Section {
        name,
        start: start as usize,
        end: (end as usize).next_multiple_of(PAGE_SIZE),
        flags,
    };
    let read = Flags::READ;
    [
        section(
            ".text",
            &raw const _stext,
            &raw const _etext,
            read | Flags::EXECUTE,
        ),
        section(".rodata", &raw const _srodata, &raw const _erodata, read),
        section(
            ".data",
            &raw const _sdata,
            &raw const _ebss,
            read | Flags::WRITE,
        ),
        Section {
            name: "stack",
            start: hart_stack(0).start,
            end: hart_stack(0).end,
            flags: read | Flags::WRITE,
        },
    ]
}

/// Returns the part of the kernel image that `addr` is in, or `None` if it is in no part.
pub(crate) fn section_of(addr: usize) -> Option<Section> {
    let mut sections = sections().into_iter();
    sections.find(|section| (section.start..section.end).contains(&addr))
}

/// Returns the physical range of the kernel image, with the first hart's stack. The range is
/// empty if the image does not lie in physical memory.
pub fn kernel_range() -> RawRange {
    if !IMAGE_IS_IN_RAM {
        return (0, 0);
    }
    let start = virt_to_phys((&raw const _skernel as usize).into()).as_usize();
    let size = &raw const _ekernel as usize - &raw const _skernel as usize;
    (start, size.next_multiple_of(PAGE_SIZE))
}

/// Returns the physical address of the first hart's stack.
pub fn first_stack() -> PhysAddr {
    virt_to_phys((&raw const _stack as usize).into())
}
