//! Children: begin one, wait for its end.

use crate::syscall::{exit, fork, waitpid, yield_now};

/// Waits until a child has ended. Returns its exit status.
pub fn wait_for(child: isize) -> i32 {
    let mut status = 0;
    loop {
        match waitpid(child, &mut status) {
            -2 => yield_now(),
            found => {
                assert_eq!(found, child, "waitpid");
                return status;
            }
        };
    }
}

/// Runs a function in a copy of this program, and returns the copy's number.
pub fn begin(child: impl FnOnce() -> i32) -> isize {
    match fork() {
        0 => exit(child()),
        process => {
            assert!(process > 0, "fork: {process}");
            process
        }
    }
}

/// Runs a function in a copy of this program. Returns the copy's exit status. That is not 0 if the
/// kernel has ended it.
pub fn in_child(child: impl FnOnce() -> i32) -> i32 {
    wait_for(begin(child))
}
