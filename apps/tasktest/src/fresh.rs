//! A stack that has just been mapped, on a hart that has used the page beside it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::harts;
use axstd::memory::{Mapping, MappingFlags, kernel_aspace};
use axstd::sync::Arc;
use axstd::thread::{self, Builder, JoinHandle};

use crate::report::{Outcome, Report, check};

const PAGE: usize = 4096;

/// Bytes of the stack. No other test keeps one of this size.
const SIZE: usize = 2 << 20;

/// Bytes of the mapping that the hole for the stack is made in.
const ROOM: usize = 8 << 20;

/// This test.
pub fn run(report: &mut Report) {
    report.test("stacks: fresh beside a used page", beside_a_used_page);
}

/// LoongArch's TLB holds pages in pairs: to use the page above the stack is to load the
/// absent page below it, the stack's first, as one that is not valid. The last hart does
/// that; then the stack is mapped by the first hart, and the last one runs on it.
fn beside_a_used_page() -> Outcome {
    let hart = harts::online() - 1;
    let whole = SIZE + guard_size()?;
    // Its own stack is mapped before there is a hole that it could take.
    let neighbour = Neighbour::on(hart)?;
    let mut mapping = lazy(ROOM)?;
    let fillers = fill_below(mapping.start(), whole)?;
    // The page above the hole is the odd one of a pair.
    let mut above = PAGE + whole;
    above += (mapping.start() + above + PAGE) % (2 * PAGE);
    mapping
        .unmap(above - whole, whole)
        .map_err(|error| format!("{error:?}"))?;
    let above = mapping.start() + above;
    neighbour.uses(above);
    let builder = Builder::new().stack_size(SIZE).hart(hart);
    let bottom = builder
        .spawn(|| thread::current().stack_bottom())
        .and_then(JoinHandle::join);
    neighbour.end()?;
    drop(fillers);
    let bottom = bottom.map_err(|error| format!("{error:?}"))?;
    check(bottom + SIZE == above, || {
        format!("the stack ends at {:#x}, not at {above:#x}", bottom + SIZE)
    })?;
    Ok(format!("{} KiB on hart {hart}", SIZE >> 10))
}

/// A thread that uses one page, and then stays until it is told to end: the end of a thread
/// may flush the TLB.
struct Neighbour {
    /// The page; 0 for none yet; 1 for the end.
    page: Arc<AtomicUsize>,
    used: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl Neighbour {
    fn on(hart: usize) -> Result<Self, String> {
        let page = Arc::new(AtomicUsize::new(0));
        let used = Arc::new(AtomicBool::new(false));
        let (its, done) = (page.clone(), used.clone());
        let handle = Builder::new().hart(hart).spawn(move || {
            loop {
                match its.load(Ordering::Acquire) {
                    0 => {}
                    1 => return,
                    // SAFETY: the page is mapped, and nothing else uses it.
                    page => unsafe {
                        (page as *mut u64).write_volatile(1);
                        done.store(true, Ordering::Release);
                    },
                }
                thread::yield_now();
            }
        });
        let handle = handle.map_err(|error| format!("{error:?}"))?;
        Ok(Self { page, used, handle })
    }

    /// Returns when the thread has used the page.
    fn uses(&self, page: usize) {
        self.page.store(page, Ordering::Release);
        while !self.used.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    fn end(self) -> Result<(), String> {
        self.page.store(1, Ordering::Release);
        self.handle.join().map_err(|error| format!("{error:?}"))
    }
}

/// Mappings in every hole of `size` bytes below `end`.
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
    Mapping::lazy(size, rights).map_err(|error| format!("{error:?}"))
}

/// Bytes of what the kernel maps below each stack. A stack of the usual size says it: one of
/// `SIZE` would be kept for the next of that size.
fn guard_size() -> Result<usize, String> {
    let found = Builder::new()
        .spawn(|| {
            let bottom = thread::current().stack_bottom();
            let guard = kernel_aspace().area_at((bottom - 1).into())?;
            Some(bottom - guard.span().start)
        })
        .and_then(JoinHandle::join);
    match found {
        Ok(Some(size)) => Ok(size),
        other => Err(format!("no guard below a stack: {other:?}")),
    }
}
