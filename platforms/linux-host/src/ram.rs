//! Physical memory, and what of it the process sees where.
//!
//! RAM is a memfd whose offsets are physical addresses: it begins at [`BASE`], and
//! what lies below is a hole that nobody is told of. A frame can be mapped at any
//! number of places, each with rights of its own, and all see the same bytes.

use core::ffi::c_int;
use core::iter;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicUsize};

use axconfig::{
    HART_STACKS, KERNEL_MAP_BASE, KERNEL_MAP_END, MAX_PHYS, PAGE_SIZE, PHYS_VIRT_OFFSET, USER_BASE,
    USER_END, hart_stack,
};

/// Where RAM begins. Below it the linear mapping would lie in what an address
/// sanitizer keeps for itself.
pub const BASE: usize = 2 << 30;

static MEMFD: AtomicI32 = AtomicI32::new(-1);
static END: AtomicUsize = AtomicUsize::new(BASE);
/// Where physical address 0 would be, of a view of all RAM that never vanishes.
static VIEW: AtomicUsize = AtomicUsize::new(0);

/// To read.
pub const READ: c_int = libc::PROT_READ;
/// To write.
pub const WRITE: c_int = libc::PROT_WRITE;
/// To execute.
pub const EXECUTE: c_int = libc::PROT_EXEC;

/// Makes `size` bytes of RAM, all zero, and maps them in the linear mapping, as boot
/// page tables do. Answers whether there is so much, and nothing of the process's where
/// the kernel maps.
pub fn create(size: usize) -> bool {
    let Some(end) = BASE.checked_add(size).filter(|end| *end <= MAX_PHYS) else {
        return false;
    };
    // SAFETY: the name ends with 0.
    let memfd = unsafe { libc::memfd_create(c"ram".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: sizes a file; a negative descriptor is refused.
    if unsafe { libc::ftruncate(memfd, end as i64) } != 0 {
        return false;
    }
    MEMFD.store(memfd, Relaxed);
    END.store(end, Relaxed);
    let view = mmap(0, BASE, size, READ, 0);
    if let Some(view) = view {
        VIEW.store(view.wrapping_sub(BASE), Relaxed);
    }
    view.is_some()
        && windows()
            .into_iter()
            .chain(iter::once(HART_STACKS..KERNEL_MAP_END))
            .all(|window| reserve(window, libc::MAP_FIXED_NOREPLACE))
        && map(BASE + PHYS_VIRT_OFFSET, BASE, size, READ | WRITE)
}

/// The virtual addresses that are user programs'.
pub const USER: Range<usize> = USER_BASE..USER_END;

/// The virtual addresses that page tables translate: user programs', the linear
/// mapping of RAM, and what the kernel maps on demand. All others are the process's
/// own, the stacks of harts too.
pub fn windows() -> [Range<usize>; 3] {
    let Range { start, end } = range();
    let linear = start + PHYS_VIRT_OFFSET..end + PHYS_VIRT_OFFSET;
    [USER, linear, KERNEL_MAP_BASE..HART_STACKS]
}

/// Gives hart `number` memory for its stack, which is never taken out of the process.
/// Returns whether Linux had it.
pub fn map_stack(number: usize) -> bool {
    let stack = hart_stack(number);
    let start = ptr::without_provenance_mut(stack.start);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: `create` has reserved the addresses for harts' stacks, and this hart has
    // not begun.
    let mapped = unsafe { libc::mmap(start, stack.len(), READ | WRITE, kind, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Lets nobody have anything at these addresses, nor Linux give them to anyone.
fn reserve(pages: Range<usize>, fixed: c_int) -> bool {
    let start = ptr::without_provenance_mut(pages.start);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: they are page tables', where only `map` maps, or `fixed` says that
    // nothing is replaced.
    unsafe { libc::mmap(start, pages.len(), libc::PROT_NONE, kind, -1, 0) != libc::MAP_FAILED }
}

/// The physical addresses that are RAM.
pub fn range() -> Range<usize> {
    BASE..END.load(Relaxed)
}

/// The word at physical address `paddr`, a multiple of 8; `None` if that is no RAM.
pub fn read(paddr: usize) -> Option<u64> {
    let word = ptr::with_exposed_provenance::<u64>(VIEW.load(Relaxed).wrapping_add(paddr));
    // SAFETY: the view has all of RAM, for good. Harts may write meanwhile, each a
    // whole word.
    range()
        .contains(&paddr)
        .then(|| unsafe { word.read_volatile() })
}

/// Maps physical memory at `vaddr` with exactly these rights, whatever was mapped
/// there before. What is no RAM is a bus error when it is touched. Answers whether
/// Linux has room for one more mapping.
pub fn map(vaddr: usize, paddr: usize, size: usize, rights: c_int) -> bool {
    debug_assert!((vaddr | paddr | size).is_multiple_of(PAGE_SIZE));
    mmap(vaddr, paddr, size, rights, libc::MAP_FIXED).is_some()
}

fn mmap(vaddr: usize, paddr: usize, size: usize, rights: c_int, fixed: c_int) -> Option<usize> {
    let (address, memfd) = (ptr::without_provenance_mut(vaddr), MEMFD.load(Relaxed));
    // SAFETY: a fixed address is one of page tables', where only `map` maps.
    let mapped = unsafe {
        let kind = libc::MAP_SHARED | libc::MAP_NORESERVE | fixed;
        libc::mmap(address, size, rights, kind, memfd, paddr as i64)
    };
    (mapped != libc::MAP_FAILED).then(|| mapped.expose_provenance())
}

/// Takes `pages`, which page tables translate, out of the process. Answers whether Linux has
/// had the memory for that.
pub fn unmap(pages: Range<usize>) -> bool {
    reserve(pages, libc::MAP_FIXED)
}
