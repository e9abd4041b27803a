//! The Linux of this computer: its system calls, and real page faults.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ours::Work;
use super::{Load, PAGE, THREADS, TOUCHED};

/// Work in the address space of this process.
pub struct Linux {
    work: Work,
    /// Where the pages of each thread begin. Written by `prepare`.
    start: [AtomicUsize; THREADS],
    /// Where the area that all threads share begins.
    all: usize,
}

impl Linux {
    /// Maps what all threads share for `work`.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            start: [const { AtomicUsize::new(0) }; THREADS],
            all: map(THREADS * TOUCHED),
        }
    }
}

/// Maps `pages` pages lazily. Returns the first address.
fn map(pages: usize) -> usize {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: without `MAP_FIXED` the kernel chooses addresses that are free.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, rights, kind, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED, "no memory");
    mapped as usize
}

fn unmap(start: usize, pages: usize) {
    // SAFETY: `map` returned `start`, and the load that unmaps it is its only user.
    assert_eq!(unsafe { libc::munmap(start as *mut _, pages * PAGE) }, 0);
}

fn touch(start: usize, pages: usize) {
    for page in 0..pages {
        let byte = (start + page * PAGE) as *mut u8;
        // SAFETY: `map` mapped the page with the right to write, and only this thread uses it.
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
            // SAFETY: `map` mapped the range for this load, which reads nothing back from it.
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
