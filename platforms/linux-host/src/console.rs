//! The console: standard output. Nothing is ever typed.

use core::ptr;

use axplat::console::ConsoleIf;

/// The most bytes of one call: they lie in no more than two pages.
const PIECE: usize = 4096;

struct Console;

#[axplat::impl_interface]
impl ConsoleIf for Console {
    fn write_bytes(bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let mut done = 0;
            while done < piece.len() {
                match write(&piece[done..]) {
                    Some(count) => done += count,
                    // Nobody reads any more.
                    None => return,
                }
            }
        }
    }

    fn read_bytes(_bytes: &mut [u8]) -> usize {
        0
    }
}

/// Writes some of `bytes`, none if their pages have just vanished from the process;
/// touched first, they are there. `None` if the output is closed.
fn write(bytes: &[u8]) -> Option<usize> {
    for touched in [bytes.first(), bytes.last()].into_iter().flatten() {
        // SAFETY: it is a reference.
        unsafe { ptr::from_ref(touched).read_volatile() };
    }
    // SAFETY: all bytes may be read.
    let count = unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len()) };
    if let Ok(count) = usize::try_from(count) {
        return Some(count);
    }
    // SAFETY: each thread has its own.
    let error = unsafe { *libc::__errno_location() };
    matches!(error, libc::EFAULT | libc::EINTR).then_some(0)
}
