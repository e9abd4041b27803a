//! Ending the program, which ends the machine.

/// Powers the machine off with `status`, of which the lowest eight bits are used. 0 means
/// success, and is also the status when `main` returns.
pub fn exit(status: i32) -> ! {
    axfeat::axruntime::exit(status as u8)
}
