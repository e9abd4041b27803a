//! The allocator of all physical frames, and the kernel heap.
//!
//! All RAM that is free when the kernel boots is given to this crate ([`add_memory`]). From then
//! on it decides who owns which frame:
//!
//! ```text
//!   alloc_frame, alloc_frames ─► Frames, SharedFrames      #[global_allocator]
//!                                                              (heap)
//!          one frame │                  │ a run                    │ frames
//!                    ▼                  │                          │
//!        this hart's cache              │                          │
//!                    │ half a magazine  ▼                          │
//!                    └───────────► global pool ◄───────────────────┘
//!                                 (buddy system)
//!                           8 bytes a frame (metadata)
//! ```
//!
//! It promises:
//!
//! - **Ownership.** A frame has one owner ([`Frames`]) or counted owners ([`SharedFrames`]), and
//!   is freed with the last. An owner may also be an address, such as one in a page table: see
//!   [`Frames::into_raw`]. The metadata of a frame tells whether its address owns it. So a
//!   second free of an address is detected, unless the frame was allocated again in between: it
//!   panics in debug builds, and has no effect in release builds.
//! - **Single frames in bulk.** Contiguous single frames are passed on and freed in one piece
//!   ([`FrameRun`]). Runs that must wait before they are freed are put on a list that needs no
//!   memory ([`FrameList`]).
//! - **No panic when memory runs out.** Every function that allocates can return `NoMemory`. One frame
//!   is refused only if neither the global pool nor a hart's cache nor the heap has a free frame.
//!   A run is refused only if there is no free block of its size, rounded up to a power of two.
//! - **No lasting fragmentation.** When everything is freed, the largest free block is as large
//!   as at the start.
//! - **Speed.** Most calls that allocate or free one frame, or a heap block of up to 4 KiB, take no
//!   lock. One call in many takes one: to exchange half a magazine with the global pool, or with
//!   the heap behind the magazines.
//! - **Space.** Each frame takes 8 bytes of metadata. Free frames are not written.
//!
//! # Harts
//!
//! With the feature `hal` the harts are those of axhal, on a machine or in a Linux process that
//! plays one. Without it, for tests and benchmarks on a host, each thread of a plain process is
//! a hart.
//!
//! # Locks
//!
//! There are three: the heap's, the global pool's, and the one of the registered shrinker
//! ([`set_shrinker`]). All of them disable interrupts. The global pool's lock may be taken while
//! the heap's is held, and no other two are held together. So this crate may be called with any
//! lock held, and in an interrupt handler. In a plain process, threads without a cache of their own
//! share one under a fourth lock, which is taken before that of the global pool.
//!
//! # Files
//!
//! Each file uses only files below it, or to its right on its own line. They can be read from
//! the bottom up, and each line from right to left:
//!
//! ```text
//!   frame_list ─► frame_run, shared_frames ─► frames     handles of frames
//!   host                                                 tests' physical memory
//!     machine                                            the statics FRAMES and HEAP
//!       kernel_heap ─► redzone, shrinker                 what the kernel's heap adds to a heap
//!         heap ─► heap/talc_heap                         blocks out of frames
//!           frame_allocator                              hart caches and global pool
//!             buddy ─► metadata                          free blocks; 8 bytes a frame
//!             fault ─► machine_harts ─► harts            whose allocation fails; which harts
//!               hart_cache                               what one hart caches
//!                 size_class ─► magazine                 a cache without a lock
//!                 countdown
//!                   usage, lock, atomic
//! ```
#![cfg_attr(feature = "hal", no_std)]

mod atomic;
mod magazine;
mod metadata;
mod usage;

pub use usage::{Usage, UsageKind};

// Tests under loom have only the lock-free parts.
cfg_if::cfg_if! {
    if #[cfg(not(all(loom, test)))] {
        mod buddy;
        #[cfg(feature = "fault-injection")]
        mod countdown;
        pub mod fault;
        mod frame_allocator;
        mod frame_list;
        mod frame_run;
        mod frames;
        mod hart_cache;
        mod harts;
        mod heap;
        #[cfg(not(feature = "hal"))]
        pub mod host;
        mod kernel_heap;
        mod lock;
        mod machine;
        mod machine_harts;
        mod redzone;
        mod shared_frames;
        mod shrinker;
        mod size_class;

        pub use axerrno::{AxError, AxResult};
        pub use frame_list::FrameList;
        pub use frame_run::FrameRun;
        pub use frames::{
            Frames, alloc_frame, alloc_frame_zeroed, alloc_frames, alloc_frames_zeroed,
        };
        pub use kernel_heap::last_refused;
        #[cfg(feature = "hal")]
        pub use machine::init_hart;
        pub use machine::{add_memory, largest_free_run, usage};
        pub use shared_frames::SharedFrames;
        pub use shrinker::{run_shrinker, set_shrinker};
    }
}
