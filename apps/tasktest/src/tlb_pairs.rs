//! A new stack on a hart whose TLB may hold a stale entry for the stack's first page.
//!
//! LoongArch's TLB holds pages in pairs. When a hart uses the page above a hole, its TLB loads the
//! absent page below as not valid. Then another hart maps a stack in the hole, and the first one
//! runs a thread on it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::harts;
use axstd::memory::{Mapping, MappingFlags, kernel_aspace};
use axstd::sync::Arc;
use axstd::thread::{self, Builder, JoinHandle};

use crate::report::{Outcome, Report, check, error_text};

const PAGE: usize = 4096;

/// The size of the new stack in bytes. Other tests use other sizes, so that no cached stack fits.
const SIZE: usize = 2 << 20;

/// The size in bytes of the mapping that gets the hole for the stack.
const MAPPING: usize = 8 << 20;

/// Runs the test of this file.
pub fn run(report: &mut Report) {
    report.test("stacks: no stale TLB entry", new_stack_below_used_page);
}

fn new_stack_below_used_page() -> Outcome {
    let hart = harts::online() - 1;
    let whole = SIZE + guard_size()?;
    // The helper's own stack is mapped before the hole exists, and so cannot be put there.
    let helper = PageUser::on(hart)?;
    let mut mapping = lazy(MAPPING)?;
    let fillers = fill_below(mapping.start(), whole)?;
    // The page above the hole is the odd page of a pair.
    let mut above = PAGE + whole;
    above += (mapping.start() + above + PAGE) % (2 * PAGE);
    mapping.unmap(above - whole, whole).map_err(error_text)?;
    let above = mapping.start() + above;
    helper.use_page(above);
    let builder = Builder::new().stack_size(SIZE).hart(hart);
    let bottom = builder
        .spawn(|| thread::current().stack_bottom())
        .and_then(JoinHandle::join);
    helper.end()?;
    drop(fillers);
    let bottom = bottom.map_err(error_text)?;
    check(bottom + SIZE == above, || {
        format!("the stack ends at {:#x}, not at {above:#x}", bottom + SIZE)
    })?;
    Ok(format!("{} KiB on hart {hart}", SIZE >> 10))
}

/// A thread that uses a page. It then stays alive until `end`, since the end of a thread may
/// flush the TLB.
struct PageUser {
    /// The address of the page, or [`WAIT`] or [`END`].
    page: Arc<AtomicUsize>,
    used: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// The values of [`PageUser::page`] before there is a page, and when the thread must end.
const WAIT: usize = 0;
const END: usize = 1;

impl PageUser {
    fn on(hart: usize) -> Result<Self, String> {
        let page = Arc::new(AtomicUsize::new(WAIT));
        let used = Arc::new(AtomicBool::new(false));
        let (its_page, is_used) = (page.clone(), used.clone());
        let handle = Builder::new().hart(hart).spawn(move || {
            loop {
                match its_page.load(Ordering::Acquire) {
                    WAIT => {}
                    END => return,
                    // SAFETY: `use_page` passes the address of a mapped page that only this
                    // thread uses.
                    page => unsafe {
                        (page as *mut u64).write_volatile(1);
                        is_used.store(true, Ordering::Release);
                    },
                }
                thread::yield_now();
            }
        });
        let handle = handle.map_err(error_text)?;
        Ok(Self { page, used, handle })
    }

    /// Has the thread write to the page, which must be mapped writable, and waits until it has.
    fn use_page(&self, page: usize) {
        self.page.store(page, Ordering::Release);
        while !self.used.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    fn end(self) -> Result<(), String> {
        self.page.store(END, Ordering::Release);
        self.handle.join().map_err(error_text)
    }
}

/// Maps every hole of `size` bytes below `end`, so that the new stack cannot be put there. Returns
/// the mappings.
fn fill_below(end: usize, size: usize) -> Result<Vec<Mapping>, String> {
    let mut fillers = Vec::new();
    loop {
        let filler = lazy(size)?;
        if filler.start() > end {
            return Ok(fillers);
        }
        fillers.push(filler);
    }
}

fn lazy(size: usize) -> Result<Mapping, String> {
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    Mapping::lazy(size, rights).map_err(error_text)
}

/// Returns the size in bytes of the guard zone that the kernel puts below each stack. It is
/// measured with a stack of the default size, since one of `SIZE` would be cached.
fn guard_size() -> Result<usize, String> {
    let found = Builder::new()
        .spawn(|| {
            let bottom = thread::current().stack_bottom();
            let guard = kernel_aspace().area_at((bottom - 1).into())?;
            Some(bottom - guard.start().as_usize())
        })
        .and_then(JoinHandle::join);
    match found {
        Ok(Some(size)) => Ok(size),
        other => Err(format!("no guard zone below a stack: {other:?}")),
    }
}
