//! Who owns every physical frame, and the kernel heap.
//!
//! All RAM that nobody has when the kernel boots is given to this module
//! ([`add_memory`]), which owns it from then on:
//!
//! ```text
//!   alloc_frame, alloc_frames ─► Frames, SharedFrames      #[global_allocator]
//!                                  (frames)                     (heap)
//!          one frame │                  │ a run                    │ frames
//!                    ▼                  │                          │
//!       this hart's magazine            │                          │
//!        (stock, magazine)              │                          │
//!                    │ half of one      ▼                          │
//!                    └───────────► buddy system ◄──────────────────┘
//!                                  (pool, buddy)
//!                        8 bytes a frame (word, words)
//! ```
//!
//! It promises:
//!
//! - A frame has one owner ([`Frames`]) or counted ones ([`SharedFrames`]), and
//!   goes back with the last. Frames in other hands, such as a page table's, are
//!   known by their word, so that taking one back twice gives nothing, until it is
//!   given away anew. Single ones in a row come and go in one piece ([`FrameRow`]), and
//!   wait until they may go in lists that need no memory ([`FrameList`]).
//! - No memory is an answer of every call: for a frame when none is left, not
//!   while a hart's magazine or the heap keeps one idle all the time of the call;
//!   for a run when no free block of its size, rounded up to a power of two, is.
//! - When all is given back, the largest free block is as large as before.
//! - Taking and giving back one frame, or a block of at most 4 KiB, takes no lock
//!   but for one in many, which exchanges half a magazine.
//! - 8 bytes for each frame, and no byte of a free one is written.
//!
//! With the feature `hal` its harts are those of axhal, of a machine or of a process in
//! the place of one; without it, for tests and benchmarks on a host, each thread of a
//! plain process is a hart.
//!
//! Locks: the heap's, then the buddy system's, and the keeper's ([`set_keeper`]); all keep
//! interrupts out. No other
//! lock is taken while one of them is held, so that both are leaves to everyone
//! else, and may be taken in an interrupt.
#![cfg_attr(feature = "hal", no_std)]

mod atomic;
mod magazine;
mod usage;
mod word;

pub use usage::{Usage, UsageKind};

// In tests under loom only the parts without locks are there.
cfg_if::cfg_if! {
    if #[cfg(not(all(loom, test)))] {
        mod buddy;
        pub mod fault;
        mod frames;
        mod hart;
        mod heap;
        mod list;
        #[cfg(not(feature = "hal"))]
        pub mod host;
        mod pool;
        mod redzone;
        mod row;
        mod stock;
        mod whole;
        mod words;

        pub use axerrno::{AxError, AxResult};
        pub use frames::{
            Frames, SharedFrames, alloc_frame, alloc_frame_zeroed, alloc_frames,
            alloc_frames_zeroed,
        };
        #[cfg(feature = "hal")]
        pub use hart::init_hart;
        pub use list::FrameList;
        pub use row::FrameRow;
        pub use whole::{
            add_memory, give_back_kept, largest_free_run, last_refused, set_keeper, usage,
        };
    }
}
