//! The computer's own Linux: its system calls, and real page faults.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ours::Work;
use super::{Load, PAGE, THREADS, TOUCHED};

/// What threads do to the process's address space.
pub struct Linux {
    work: Work,
    /// Where each thread's pages are, once it is ready.
    start: [AtomicUsize; THREADS],
    /// Where all threads' are that have one area.
    all: usize,
}

impl Linux {
    /// Ready for `work`.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            start: [const { AtomicUsize::new(0) }; THREADS],
            all: map(THREADS * TOUCHED),
        }
    }
}

/// Maps so many pages, lazily.
fn map(pages: usize) -> usize {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: it goes where nothing is.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, rights, kind, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED, "no memory");
    mapped as usize
}

fn unmap(start: usize, pages: usize) {
    // SAFETY: `map` has mapped it for this load alone.
    assert_eq!(unsafe { libc::munmap(start as *mut _, pages * PAGE) }, 0);
}

fn touch(start: usize, pages: usize) {
    for page in 0..pages {
        let byte = (start + page * PAGE) as *mut u8;
        // SAFETY: it is mapped, and this thread's.
        unsafe { byte.write_volatile(1) };
    }
}

impl Load for Linux {
    fn prepare(&self, thread: usize) {
        let start = match self.work {
            Work::FaultsInOneArea => self.all + thread * TOUCHED * PAGE,
            Work::FaultsInAnAreaEach => map(TOUCHED),
            Work::MapTouchUnmap(_) | Work::MapTouchUnmapNearby(_) => 0,
        };
        self.start[thread].store(start, Ordering::Relaxed);
    }

    fn work(&self, thread: usize) {
        match self.work {
            Work::FaultsInOneArea | Work::FaultsInAnAreaEach => {
                touch(self.start[thread].load(Ordering::Relaxed), TOUCHED);
            }
            Work::MapTouchUnmap(count) | Work::MapTouchUnmapNearby(count) => {
                for _ in 0..TOUCHED / count {
                    let start = map(count);
                    touch(start, count);
                    unmap(start, count);
                }
            }
        }
    }

    fn finish(&self, thread: usize) {
        let start = self.start[thread].load(Ordering::Relaxed);
        match self.work {
            // SAFETY: the range is this load's, and nothing in it is needed.
            Work::FaultsInOneArea => unsafe {
                libc::madvise(start as *mut _, TOUCHED * PAGE, libc::MADV_DONTNEED);
            },
            Work::FaultsInAnAreaEach => unmap(start, TOUCHED),
            Work::MapTouchUnmap(_) | Work::MapTouchUnmapNearby(_) => {}
        }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        unmap(self.all, THREADS * TOUCHED);
    }
}
