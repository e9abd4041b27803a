//! Physical memory: what is where, and who has it at boot.

use axconfig::{PAGE_SIZE, hart_stack};
use axplat::mem::{MemRegionFlags as Flags, PhysAddr, PhysMemRegion, RawRange};
use spin::Once;

pub use crate::arch::init_zeroing;
pub use axplat::mem::{MemRegionFlags, phys_to_virt, total_ram_size, virt_to_phys};

/// Whether the kernel image lies in physical memory. A process's does not: Linux has
/// mapped it, each part with its rights, where the kernel maps nothing.
pub const IMAGE_IS_IN_RAM: bool = cfg!(target_os = "none");

/// Memory that the boot has taken for good: see [`take_boot_memory`].
static TAKEN: Once<RawRange> = Once::new();

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

/// A part of the kernel image: first and last-plus-one virtual address, rights.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// `.text`, `.rodata`, `.data`, `stack`.
    pub name: &'static str,
    /// First virtual address, page-aligned.
    pub start: usize,
    /// End, page-aligned.
    pub end: usize,
    /// Exactly the rights it has.
    pub flags: Flags,
}

/// The parts of the kernel image, and the first hart's stack.
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

/// The part of the kernel image that `addr` is in.
pub(crate) fn section_of(addr: usize) -> Option<Section> {
    let mut sections = sections().into_iter();
    sections.find(|section| (section.start..section.end).contains(&addr))
}

/// The physical range of the kernel image, the first hart's stack included; of none
/// an empty one.
fn kernel_range() -> RawRange {
    if !IMAGE_IS_IN_RAM {
        return (0, 0);
    }
    let start = virt_to_phys((&raw const _skernel as usize).into()).as_usize();
    let size = &raw const _ekernel as usize - &raw const _skernel as usize;
    (start, size.next_multiple_of(PAGE_SIZE))
}

/// Calls `f` for each physical range, in pages, that nobody has: RAM without
/// the kernel image, what the firmware has reserved, and what the boot took.
/// The first frame of physical memory is never among them, so that no frame in
/// use has the address 0.
pub fn for_each_free(mut f: impl FnMut(RawRange)) {
    let own = [(0, PAGE_SIZE), kernel_range()];
    let reserved = axplat::mem::reserved_phys_ram_ranges();
    let used = own.iter().chain(TAKEN.get()).chain(reserved);
    for &range in axplat::mem::phys_ram_ranges() {
        subtract(range, used.clone(), &mut f);
    }
}

/// Calls `f` for what is left of `range` without `used`, in order. The ranges in
/// `used` may overlap, and are in no order: they are few, and a copy to be sorted
/// would have room for so many and no more.
fn subtract<'a>(
    (start, size): RawRange,
    used: impl Iterator<Item = &'a RawRange> + Clone,
    f: &mut impl FnMut(RawRange),
) {
    let end = start + size;
    let mut free = start;
    while free < end {
        let is_here = |range: &&RawRange| range.0 <= free && free - range.0 < range.1;
        if let Some(&(start, size)) = used.clone().find(is_here) {
            free = start + size;
            continue;
        }
        let later = used.clone().map(|range| range.0).filter(|at| *at > free);
        let next = later.fold(end, usize::min);
        f((free, next - free));
        free = next;
    }
}

/// Takes `size` bytes of free RAM for good, page-aligned, from the lowest range
/// that the boot page table surely maps and that has room. `None` if there is
/// none. Called once.
#[cfg(feature = "smp")]
pub(crate) fn take_boot_memory(size: usize) -> Option<PhysAddr> {
    let size = size.next_multiple_of(PAGE_SIZE);
    let (image, _) = kernel_range();
    let mut found = None;
    for_each_free(|(start, room)| {
        // Behind the image: what lies below may be the firmware's, and a
        // range as near as this is in the boot page table.
        let mapped = start + size <= axconfig::BOOT_MAPPED;
        if found.is_none() && start > image && room >= size && mapped {
            found = Some(start);
        }
    });
    let start = found?;
    TAKEN.call_once(|| (start, size));
    Some(PhysAddr::from_usize(start))
}

/// Calls `f` for each hart whose stack lies in RAM: with its number, and the stack's
/// physical address. [`hart_stack`] has the virtual one.
pub fn for_each_stack(mut f: impl FnMut(usize, PhysAddr)) {
    if IMAGE_IS_IN_RAM {
        f(0, virt_to_phys((&raw const _stack as usize).into()));
        #[cfg(feature = "smp")]
        for number in 1..crate::hart::count() {
            f(
                number,
                PhysAddr::from_usize(crate::hart::stack_memory(number)),
            );
        }
    }
}

/// Calls `f` for every physical range that the kernel's address space has in the linear
/// mapping, with the rights it has there. Harts' stacks are in none of them, and neither is reserved
/// memory that the kernel does not read: the firmware may forbid to map it.
pub fn for_each_region(mut f: impl FnMut(PhysMemRegion)) {
    let mut region = |name, start: usize, size: usize, flags| {
        f(PhysMemRegion {
            paddr: PhysAddr::from_usize(start),
            size,
            flags,
            name,
        });
    };
    let phys = |vaddr: usize| virt_to_phys(vaddr.into()).as_usize();
    let image = sections()
        .into_iter()
        .filter(|section| section.name != "stack");
    for s in image.filter(|_| IMAGE_IS_IN_RAM) {
        region(
            s.name,
            phys(s.start),
            s.end - s.start,
            s.flags | Flags::RESERVED,
        );
    }
    let rw = Flags::READ | Flags::WRITE;
    #[cfg(feature = "smp")]
    if let Some(&(start, size)) = TAKEN.get() {
        let stacks = (crate::hart::count() - 1) * crate::hart::STACK_MEMORY;
        region(
            "per-hart data",
            start + stacks,
            size - stacks,
            rw | Flags::RESERVED,
        );
    }
    let own = [kernel_range(), TAKEN.get().copied().unwrap_or_default()];
    for &range in axmachine::inventory().mapped_reserved() {
        subtract(range, own.iter(), &mut |(start, size)| {
            region("reserved", start, size, rw | Flags::RESERVED);
        });
    }
    for_each_free(|(start, size)| region("free memory", start, size, rw | Flags::FREE));
    for &(start, size) in axplat::mem::mmio_ranges() {
        region("device", start, size, rw | Flags::DEVICE | Flags::RESERVED);
    }
}

/// Whether `size` bytes from the physical address `start` on, at least one, are all of one
/// device.
pub fn is_device(start: usize, size: usize) -> bool {
    let end = start.checked_add(size).filter(|end| *end > start);
    let mut devices = axplat::mem::mmio_ranges().iter();
    end.is_some_and(|end| devices.any(|&(first, len)| first <= start && end <= first + len))
}

/// Zeroes `len` bytes from `start` on, whole pages, as fast as the machine can:
/// by the way that [`init_zeroing`] has chosen, and until then by one that works
/// everywhere.
///
/// # Safety
///
/// `start` is page-aligned and `len` a number of pages, which are mapped as
/// writable memory through the caches, not as a device, and nobody else uses
/// them meanwhile.
#[inline]
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    debug_assert!((start.addr() | len).is_multiple_of(PAGE_SIZE));
    // SAFETY: the caller's promise.
    unsafe { crate::arch::zero_pages(start, len) };
}
