//! What is ArceOS's own, under its names.

/// ArceOS's calls and modules.
pub mod arceos {
    /// The modules themselves.
    pub mod modules {
        #[cfg(feature = "alloc")]
        pub use axfeat::axalloc;
        pub use axfeat::axhal;
        pub use axfeat::axlog;
        #[cfg(feature = "paging")]
        pub use axfeat::axmm;
        pub use axfeat::axruntime;
        #[cfg(feature = "multitask")]
        pub use axfeat::axtask;
    }

    /// ArceOS's calls.
    pub mod api {
        #[cfg(feature = "multitask")]
        pub use super::task;
    }

    /// Calls for threads.
    #[cfg(feature = "multitask")]
    pub mod task {
        use core::time::Duration;

        pub use axfeat::axtask::WaitQueue as AxWaitQueueHandle;
        use axfeat::axtask::{self};

        use crate::io;
        use crate::thread::deadline;

        /// The number of the calling thread.
        pub fn ax_current_task_id() -> u64 {
            axtask::current().id()
        }

        /// Lets the other ready threads of this hart run first.
        pub fn ax_yield_now() {
            axtask::yield_now();
        }

        /// Waits until notified, at most for `timeout`; answers whether that was over.
        pub fn ax_wait_queue_wait(queue: &AxWaitQueueHandle, timeout: Option<Duration>) -> bool {
            !queue.wait_after(timeout.map(deadline), || true)
        }

        /// Waits until `until` holds, at most for `timeout`; answers whether that was over.
        pub fn ax_wait_queue_wait_until(
            queue: &AxWaitQueueHandle,
            until: impl Fn() -> bool,
            timeout: Option<Duration>,
        ) -> bool {
            !queue.wait_until_or(timeout.map(deadline), until)
        }

        /// Wakes up to `count` of those that wait.
        pub fn ax_wait_queue_wake(queue: &AxWaitQueueHandle, count: u32) {
            match count {
                u32::MAX => queue.notify_all(),
                count => drop((0..count).find(|_| !queue.notify_one())),
            }
        }

        /// Threads take turns whatever they are for: there are no priorities.
        ///
        /// # Errors
        ///
        /// `InvalidInput`, always.
        pub fn ax_set_current_priority(_priority: isize) -> io::Result<()> {
            Err(io::Error::InvalidInput)
        }
    }
}
