//! Interfaces of ArceOS that `std` does not have, under ArceOS's names.

/// Calls and modules of ArceOS.
pub mod arceos {
    /// The kernel's modules.
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

    /// Calls of ArceOS's `arceos_api`.
    pub mod api {
        #[cfg(feature = "multitask")]
        pub use super::task;
    }

    /// Calls about threads.
    #[cfg(feature = "multitask")]
    pub mod task {
        use core::time::Duration;

        pub use axfeat::axtask::WaitQueue as AxWaitQueueHandle;
        use axfeat::axtask::{self};

        use crate::io;
        use crate::thread::deadline;

        /// Returns the number of the calling thread.
        pub fn ax_current_task_id() -> u64 {
            axtask::current().id()
        }

        /// Lets the other ready threads of this hart run first.
        pub fn ax_yield_now() {
            axtask::yield_now();
        }

        /// Waits for a notification, at most for `timeout`. `None` is no limit. Returns whether
        /// the timeout passed without one.
        pub fn ax_wait_queue_wait(queue: &AxWaitQueueHandle, timeout: Option<Duration>) -> bool {
            !queue.wait_after(timeout.map(deadline), || true)
        }

        /// Waits until `until` holds, at most for `timeout`. `None` is no limit. The condition
        /// is checked now and after each notification. Returns whether the timeout passed and
        /// it does not hold.
        pub fn ax_wait_queue_wait_until(
            queue: &AxWaitQueueHandle,
            until: impl Fn() -> bool,
            timeout: Option<Duration>,
        ) -> bool {
            !queue.wait_until_or(timeout.map(deadline), until)
        }

        /// Wakes at most `count` waiting threads, in the order in which they came.
        /// `u32::MAX` wakes all.
        pub fn ax_wait_queue_wake(queue: &AxWaitQueueHandle, count: u32) {
            match count {
                u32::MAX => queue.notify_all(),
                count => {
                    let mut woken = 0;
                    while woken < count && queue.notify_one() {
                        woken += 1;
                    }
                }
            }
        }

        /// Exists for ArceOS's programs. Threads have no priorities here.
        ///
        /// # Errors
        ///
        /// It always fails with `InvalidInput`.
        pub fn ax_set_current_priority(_priority: isize) -> io::Result<()> {
            Err(io::Error::InvalidInput)
        }
    }
}
