//! Mapped pages, and accesses to any address.

use core::hint::black_box;
use core::ptr;

use crate::syscall::{READ, WRITE, mmap};

/// The size of a page in bytes.
pub const PAGE: usize = 4096;

/// An address at which no program, heap or stack is.
pub const FREE: usize = 0x1000_0000;

/// Reads a word.
///
/// # Safety
///
/// Nothing changes the word at the same time. At an address that the program may not read, the
/// kernel ends it.
pub unsafe fn read_word(address: usize) -> usize {
    // `black_box` hides a constant address that the compiler would know to be wrong.
    // SAFETY: the caller's promise. A word that cannot be read ends the program.
    unsafe { ptr::read_volatile(black_box(address as *const usize)) }
}

/// Writes a word.
///
/// # Safety
///
/// No reference to the word exists. At an address that the program may not write, the kernel ends
/// it.
pub unsafe fn write_word(address: usize, value: usize) {
    // `black_box` hides a constant address that the compiler would know to be wrong.
    // SAFETY: the caller's promise. A word that cannot be written ends the program.
    unsafe { ptr::write_volatile(black_box(address as *mut usize), value) }
}

/// Pages that were mapped for reading and writing.
pub struct Pages {
    start: usize,
    len: usize,
}

impl Pages {
    /// Maps pages at a fixed address. Something must not be mapped there yet.
    pub fn map(start: usize, pages: usize) -> Self {
        let len = pages * PAGE;
        assert_eq!(mmap(start, len, READ | WRITE), 0, "mmap at {start:#x}");
        Self { start, len }
    }

    /// Returns the address of the first byte.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Returns the contents.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the pages are mapped at an address that was free, and only this value gives out
        // references to them. They are zeroed, so each byte has a value.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.len) }
    }
}
