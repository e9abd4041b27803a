//! What a family of programs has to provide: its system calls.

use axhal::uspace::{AfterTrap, UserContext, UserRegisters};
use axtask::Shared;

use crate::exit::Exit;
use crate::process::Process;
use crate::space::UserSpace;
use crate::thread::Executable;

/// The program that makes a system call.
pub struct Task<'a> {
    /// Its process.
    pub process: &'a Shared<Process>,
    /// Its address space, which this hart has entered.
    pub space: &'a UserSpace,
}

/// How a program goes on after a system call.
pub enum Next {
    /// It goes on with the registers that it has.
    Continue,
    /// It becomes another program.
    Exec(Executable),
    /// It ends.
    Exit(i32),
}

/// A family of system calls, with the state that each program has for them. A fork needs another
/// value for the child.
pub trait Personality: Send + Sized + 'static {
    /// Handles a system call that needs only its arguments. The result goes to `registers`. For any
    /// other call returns `Leave`, without having done anything: then
    /// [`syscall_with_context`](Self::syscall_with_context) is called.
    fn syscall(&mut self, task: &Task<'_>, registers: &mut UserRegisters) -> AfterTrap;

    /// Handles a system call that needs all registers, or after which the program does not go on.
    fn syscall_with_context(&mut self, task: &Task<'_>, context: &mut UserContext) -> Next;

    /// Called when the program has ended, after so many page faults. Its address space still exists.
    fn on_exit(&mut self, task: &Task<'_>, exit: Exit, faults: u64) {
        let _ = (task, exit, faults);
    }
}
