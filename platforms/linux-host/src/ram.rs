//! Physical memory, and its mappings in the process.
//!
//! RAM is a memfd whose offsets are physical addresses. It begins at `BASE`; the memfd below
//! is a hole, and the inventory does not list it. A frame can be mapped at any number of
//! virtual addresses, with different rights, and all mappings show the same bytes.

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

/// The physical address at which RAM begins. The linear mapping of lower addresses would
/// overlap the addresses that an address sanitizer uses.
const BASE: usize = 2 << 30;

// Relaxed in all accesses of these three: the first hart stores them in `create`, before it
// starts another thread.
static MEMFD: AtomicI32 = AtomicI32::new(-1);
static END: AtomicUsize = AtomicUsize::new(BASE);
/// The offset from physical addresses to those of the view, a read-only mapping of all RAM that
/// the process never loses.
static VIEW: AtomicUsize = AtomicUsize::new(0);

/// The right to read.
pub const READ: c_int = libc::PROT_READ;
/// The right to write.
pub const WRITE: c_int = libc::PROT_WRITE;
/// The right to execute.
pub const EXECUTE: c_int = libc::PROT_EXEC;

/// Creates `size` bytes of RAM, all zero, and maps them in the linear mapping, as a boot page
/// table does. Returns `false` if Linux has less memory, or if the process uses addresses of
/// the kernel.
pub(crate) fn create(size: usize) -> bool {
    let Some(end) = BASE.checked_add(size).filter(|end| *end <= MAX_PHYS) else {
        return false;
    };
    // SAFETY: the name ends with 0.
    let memfd = unsafe { libc::memfd_create(c"ram".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: `ftruncate` accesses no memory, and refuses a negative descriptor.
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
        && translated_ranges()
            .into_iter()
            .chain(iter::once(HART_STACKS..KERNEL_MAP_END))
            .all(|range| reserve(range, libc::MAP_FIXED_NOREPLACE))
        && map(BASE + PHYS_VIRT_OFFSET, BASE, size, READ | WRITE)
}

/// The virtual addresses of user programs.
pub const USER: Range<usize> = USER_BASE..USER_END;

/// Returns the virtual addresses that page tables translate: those of user programs, the
/// linear mapping of RAM, and the addresses that the kernel maps on demand. All others belong
/// to the process, the stacks of harts included.
pub fn translated_ranges() -> [Range<usize>; 3] {
    let Range { start, end } = range();
    let linear = start + PHYS_VIRT_OFFSET..end + PHYS_VIRT_OFFSET;
    [USER, linear, KERNEL_MAP_BASE..HART_STACKS]
}

/// Maps memory for the stack of hart `number`, for as long as the process runs. Returns
/// `false` if Linux has no memory for it.
pub(crate) fn map_stack(number: usize) -> bool {
    let stack = hart_stack(number);
    let start = ptr::without_provenance_mut(stack.start);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: `create` has reserved the addresses for harts' stacks, and this hart does not
    // run on its stack yet.
    let mapped = unsafe { libc::mmap(start, stack.len(), READ | WRITE, kind, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Makes `pages` inaccessible and keeps Linux from using the addresses for other mappings.
/// Returns `false` if Linux refuses. `fixed` is `MAP_FIXED`, which replaces mappings, or
/// `MAP_FIXED_NOREPLACE`.
fn reserve(pages: Range<usize>, fixed: c_int) -> bool {
    let start = ptr::without_provenance_mut(pages.start);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: with `MAP_FIXED` the addresses are those that page tables translate, where only
    // `map` has put mappings. With `MAP_FIXED_NOREPLACE` no mapping is replaced.
    unsafe { libc::mmap(start, pages.len(), libc::PROT_NONE, kind, -1, 0) != libc::MAP_FAILED }
}

/// Returns the physical addresses of RAM.
pub fn range() -> Range<usize> {
    BASE..END.load(Relaxed)
}

/// Returns the word at the physical address `paddr`, a multiple of 8; `None` if it is not
/// RAM.
pub fn read(paddr: usize) -> Option<u64> {
    let word = ptr::with_exposed_provenance::<u64>(VIEW.load(Relaxed).wrapping_add(paddr));
    // SAFETY: `paddr` is in RAM, and the view maps all RAM for as long as the process runs.
    // Other harts may write at the same time, but only whole words.
    range()
        .contains(&paddr)
        .then(|| unsafe { word.read_volatile() })
}

/// Maps `size` bytes of physical memory at `vaddr` with exactly these rights, in place of
/// earlier mappings. An access to an address above RAM will be a bus error. Returns `false` if
/// the process has as many mappings as Linux allows.
pub fn map(vaddr: usize, paddr: usize, size: usize, rights: c_int) -> bool {
    debug_assert!((vaddr | paddr | size).is_multiple_of(PAGE_SIZE));
    mmap(vaddr, paddr, size, rights, libc::MAP_FIXED).is_some()
}

fn mmap(vaddr: usize, paddr: usize, size: usize, rights: c_int, fixed: c_int) -> Option<usize> {
    let (address, memfd) = (ptr::without_provenance_mut(vaddr), MEMFD.load(Relaxed));
    // SAFETY: a fixed address is one that page tables translate, where only `map` puts
    // mappings. Without `MAP_FIXED` Linux chooses free addresses.
    let mapped = unsafe {
        let kind = libc::MAP_SHARED | libc::MAP_NORESERVE | fixed;
        libc::mmap(address, size, rights, kind, memfd, paddr as i64)
    };
    (mapped != libc::MAP_FAILED).then(|| mapped.expose_provenance())
}

/// Unmaps `pages`, which must be addresses that page tables translate. Returns `false` if
/// Linux has no memory for its own bookkeeping.
pub fn unmap(pages: Range<usize>) -> bool {
    reserve(pages, libc::MAP_FIXED)
}
