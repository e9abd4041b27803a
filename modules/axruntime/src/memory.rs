//! Giving all free memory to `axalloc`, and reporting a panic that was caused by a lack of it.

use core::fmt::{self, Write};
use core::ops::Range;
use core::panic::PanicMessage;

use arrayvec::ArrayVec;
use axlog::error;

/// The largest number of ranges of free memory that one call gives to the allocator.
const MAX_RANGES: usize = 64;

/// Prepares the allocator on the first hart, and gives it the free memory in the range
/// `mapped` of physical addresses.
pub(crate) fn init(mapped: Range<usize>) {
    axhal::mem::init_zeroing();
    // The first hart's cache is in static memory, so this cannot fail.
    let _ = axalloc::init_hart();
    add_free(mapped);
}

/// Gives the allocator the free memory in the range `mapped` of physical addresses, which
/// the current page table must map.
pub(crate) fn add_free(mapped: Range<usize>) {
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
    // SAFETY: `for_each_free` lists memory that the kernel does not use, and each address is
    // passed on once. The linear mapping maps it, as the caller promises, and keeps doing so.
    if !ranges.is_empty() && unsafe { axalloc::add_memory(&ranges) }.is_err() {
        error!("no range of free memory has room for the metadata of all: {ranges:#x?}");
    }
}

/// Returns what to print as the reason of a panic: its message. If a failed allocation caused
/// the panic, that is replaced by the size of the request and a summary of memory use.
pub(crate) fn reason(message: PanicMessage<'_>) -> Reason<'_> {
    Reason(message)
}

/// A panic's message, to be printed as the reason of the panic.
pub(crate) struct Reason<'a>(PanicMessage<'a>);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message of `alloc::handle_alloc_error` is the only thing that distinguishes
        // it from other panics.
        let mut expected = ExpectedPrefix("memory allocation of ");
        // An error only says that the comparison ended before the end of the message.
        let _ = write!(expected, "{}", self.0);
        let has_prefix = expected.0.is_empty();
        if !has_prefix {
            return write!(f, "{}", self.0);
        }
        let (wanted, usage) = (axalloc::last_refused(), axalloc::usage());
        write!(f, "out of memory: wanted {wanted} bytes; {usage}")
    }
}

/// Compares what is written with an expected prefix: the part of it that has not been written
/// yet. Writing something else is an error. So is writing after the prefix, since there is
/// nothing left to compare.
struct ExpectedPrefix(&'static str);

impl Write for ExpectedPrefix {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        let compared = self.0.len().min(written.len());
        let (expected, rest) = self.0.split_at(compared);
        if !written.starts_with(expected) || compared == 0 {
            return Err(fmt::Error);
        }
        self.0 = rest;
        Ok(())
    }
}
