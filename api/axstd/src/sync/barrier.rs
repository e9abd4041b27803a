//! A barrier: threads wait at it until enough of them have arrived.

use super::{Condvar, Mutex};

/// A point where threads wait until a given number of them have arrived.
#[derive(Debug)]
pub struct Barrier {
    progress: Mutex<Progress>,
    passed: Condvar,
    /// The number of threads that pass together.
    group_size: usize,
}

#[derive(Debug)]
struct Progress {
    /// The number of threads that wait now.
    arrived: usize,
    /// The number of groups that have passed, modulo the size of the type.
    passed_groups: usize,
}

/// The result of waiting at a [`Barrier`].
#[derive(Clone, Copy, Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Returns whether the thread was the last to arrive. That holds for exactly one thread
    /// of each group that passes.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// Makes a barrier that `group_size` threads pass together.
    pub const fn new(group_size: usize) -> Self {
        Self {
            progress: Mutex::new(Progress {
                arrived: 0,
                passed_groups: 0,
            }),
            passed: Condvar::new(),
            group_size,
        }
    }

    /// Waits until a whole group of threads has arrived, the calling thread included.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut progress = self.progress.lock();
        progress.arrived += 1;
        if progress.arrived >= self.group_size {
            progress.arrived = 0;
            progress.passed_groups = progress.passed_groups.wrapping_add(1);
            self.passed.notify_all();
            return BarrierWaitResult(true);
        }
        let before = progress.passed_groups;
        let has_to_wait = |progress: &mut Progress| progress.passed_groups == before;
        drop(self.passed.wait_while(progress, has_to_wait));
        BarrierWaitResult(false)
    }
}
