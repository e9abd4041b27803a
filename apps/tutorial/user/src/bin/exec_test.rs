//! Replaces programs, and begins them as children.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::memory::{FREE, Pages};
use user_lib::println;
use user_lib::process::{in_child, wait_for};
use user_lib::syscall::{exec, spawn};

#[unsafe(no_mangle)]
fn main() -> i32 {
    assert_eq!(in_child(|| exec(c"exit_code") as i32), 7);
    assert_eq!(wait_for(spawn(c"exit_code")), 7);
    println!("exec_test: exec and spawn");

    let mut pages = Pages::map(FREE, 1);
    pages.bytes().fill(1);
    for missing in [c"no_such_program", c"", c"hell", c"hello_", c"expected"] {
        assert_eq!(exec(missing), -1, "{missing:?}");
        assert_eq!(spawn(missing), -1, "{missing:?}");
    }
    assert!(pages.bytes().iter().all(|byte| *byte == 1));
    println!("exec_test: a program that does not exist changes nothing");

    // `fresh` fails if it finds anything of this program.
    assert_eq!(in_child(|| exec(c"fresh") as i32), 0);
    assert_eq!(wait_for(spawn(c"fresh")), 0);
    0
}
