//! All free memory goes to `axalloc`; and what a panic for want of it says.

use core::fmt::{self, Write};
use core::ops::Range;
use core::panic::PanicMessage;

use arrayvec::ArrayVec;
use axlog::error;

/// The most ranges of free memory that are used at a time.
const MAX_RANGES: usize = 64;

/// Makes the allocator ready on the first hart, with the free memory among the
/// physical addresses `mapped`.
pub fn init(mapped: Range<usize>) {
    axhal::mem::init_zeroing();
    // The first hart's never fails.
    let _ = axalloc::init_hart();
    add_free(mapped);
}

/// Gives the free memory among the physical addresses `mapped` to the
/// allocator: those that a page table reaches by now.
pub fn add_free(mapped: Range<usize>) {
    let mut ranges: ArrayVec<Range<usize>, MAX_RANGES> = ArrayVec::new();
    axhal::mem::for_each_free(|(start, size)| {
        let range = start.max(mapped.start)..(start + size).min(mapped.end);
        if !range.is_empty() && ranges.try_push(range).is_err() {
            error!("{size:#x} bytes at {start:#x} are left alone: more than {MAX_RANGES} ranges");
        }
    });
    if mapped.start == 0 && ranges.is_empty() {
        let listed = axhal::inventory().ram().len();
        error!("no free memory below 4 GiB: the firmware lists {listed} ranges of RAM");
    }
    // SAFETY: nobody else has this memory, and it is mapped here for good.
    if !ranges.is_empty() && unsafe { axalloc::add_memory(&ranges) }.is_err() {
        error!("no range of free memory has room to keep track of all: {ranges:#x?}");
    }
}

/// Why the kernel panics: the message, or, if the library said that a request
/// for memory was refused, how much memory there is and who has it.
pub fn reason(message: PanicMessage<'_>) -> Reason<'_> {
    Reason(message)
}

/// A panic's message in the kernel's words.
pub struct Reason<'a>(PanicMessage<'a>);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `alloc::handle_alloc_error` says: only its message tells it from
        // other panics.
        let mut refused = Beginning("memory allocation of ");
        let _ = write!(refused, "{}", self.0);
        if !refused.0.is_empty() {
            return write!(f, "{}", self.0);
        }
        let (wanted, usage) = (axalloc::last_refused(), axalloc::usage());
        write!(f, "out of memory: wanted {wanted} bytes; {usage}")
    }
}

/// What of a beginning has not been written yet. Another beginning is an error.
struct Beginning(&'static str);

impl Write for Beginning {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        let both = self.0.len().min(written.len());
        let (expected, rest) = self.0.split_at(both);
        if !written.starts_with(expected) || both == 0 {
            return Err(fmt::Error);
        }
        self.0 = rest;
        Ok(())
    }
}
