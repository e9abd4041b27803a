//! Frames that are taken and freed one at a time.

use std::hint::black_box;

use axalloc::{UsageKind, alloc_frame};

use super::Load;
use crate::ours::Frames;

/// How many frames each thread takes and frees in a turn.
const PAIRS: usize = 50_000;

/// Takes a frame and frees it, again and again.
pub struct Pairs(());

impl Pairs {
    /// Gives the allocator its memory.
    pub fn new() -> Self {
        Frames::new();
        Self(())
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Self::new()
    }
}

impl Load for Pairs {
    fn prepare(&self, _thread: usize) {}

    fn work(&self, _thread: usize) {
        for _ in 0..PAIRS {
            let frame = alloc_frame(UsageKind::VirtMem);
            assert!(black_box(frame).is_ok(), "no frame is free");
        }
    }

    fn finish(&self, _thread: usize) {}
}
