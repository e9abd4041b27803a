//! The end of the program, which is the end of the machine.

/// Powers the machine off with `status`; of it, the lowest eight bits count.
/// 0 says that all went well, as the return of `main` does.
pub fn exit(status: i32) -> ! {
    axfeat::axruntime::exit(status as u8)
}
