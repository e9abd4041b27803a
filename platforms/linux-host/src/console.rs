//! The console: standard output. There is no input.

use core::ptr;

use axplat::console::ConsoleIf;

/// The maximum number of bytes in one system call. So few bytes are in at most two pages,
/// which `write` touches first.
const MAX_WRITE: usize = 4096;

struct Console;

#[axplat::impl_interface]
impl ConsoleIf for Console {
    fn write_bytes(bytes: &[u8]) {
        for piece in bytes.chunks(MAX_WRITE) {
            let mut done = 0;
            while done < piece.len() {
                match write(&piece[done..]) {
                    Some(count) => done += count,
                    // The reading end is closed.
                    None => return,
                }
            }
        }
    }

    fn read_bytes(_bytes: &mut [u8]) -> usize {
        0
    }
}

/// Writes bytes from the start of `bytes`, which has at most [`MAX_WRITE`] bytes. Returns how
/// many were written; `None` if the output is closed.
///
/// The first and last byte are read first, so that the process has their pages. A flush can
/// still take a page away before the system call, which then writes nothing.
fn write(bytes: &[u8]) -> Option<usize> {
    for touched in [bytes.first(), bytes.last()].into_iter().flatten() {
        // SAFETY: the pointer comes from a reference.
        unsafe { ptr::from_ref(touched).read_volatile() };
    }
    // SAFETY: pointer and length are those of a slice.
    let count = unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
    if let Ok(count) = usize::try_from(count) {
        return Some(count);
    }
    // SAFETY: libc returns a valid pointer to this thread's own `errno`.
    let error = unsafe { *libc::__errno_location() };
    matches!(error, libc::EFAULT | libc::EINTR).then_some(0)
}
