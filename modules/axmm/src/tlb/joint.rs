//! A flush that several address spaces have in common.
//!
//! Each address space is marked as stale when its page table has changed
//! ([`TlbGather::join`](super::gather::TlbGather::join)). One request to all harts that were inside
//! any of them follows. A hart that enters in between finds its mark, and a hart that leaves keeps
//! it. So the time between the mark and the request does not matter
//! ([`TlbState`](super::state::TlbState)).
//!
//! A hart flushes the addresses under the ASID that it uses when it gets the request. It does not
//! have to know in which address space they have changed.

use core::mem;
use core::ops::Range;

use super::gather::{EMPTY, widen};
use crate::machine::Machine;

/// The harts that must flush, and the smallest range of addresses that holds all that has changed.
pub struct JointFlush {
    harts: u64,
    pages: Range<usize>,
}

impl JointFlush {
    /// No hart has to flush anything.
    pub fn new() -> Self {
        Self {
            harts: 0,
            pages: EMPTY,
        }
    }

    /// Adds a set of `harts`, one bit for each, which must flush `pages`, a range of addresses.
    pub fn add(&mut self, harts: u64, pages: Range<usize>) {
        if harts != 0 {
            self.harts |= harts;
            widen(&mut self.pages, pages);
        }
    }

    /// Makes the harts flush, with one request. Returns when all of them have done it. The value
    /// is as new then.
    pub fn send<M: Machine>(&mut self) {
        let Self { harts, pages } = mem::replace(self, Self::new());
        if harts != 0 {
            M::flush(harts, pages);
        }
    }
}
