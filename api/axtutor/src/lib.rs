//! The system calls of the rCore tutorial, chapters 4 and 5, for programs in processes of
//! [`axprocess`].
//!
//! | call | number | arguments | result |
//! |---|---|---|---|
//! | `write` | 64 | descriptor 1 or 2, buffer, bytes | bytes |
//! | `exit` | 93 | status | does not return |
//! | `yield` | 124 | | 0 |
//! | `get_time` | 169 | `*mut TimeVal`, ignored | 0 |
//! | `getpid` | 172 | | number of the process |
//! | `sbrk` | 214 | bytes, may be negative | the end of the heap before |
//! | `munmap` | 215 | start, bytes | 0 |
//! | `fork` | 220 | | the child's number; 0 in the child |
//! | `exec` | 221 | name, which ends with a byte 0 | does not return |
//! | `mmap` | 222 | start, bytes, rights: 1 read, and with it 2 write, 4 execute | 0 |
//! | `waitpid` | 260 | a child's number or −1 for any, `*mut i32` | the child's number |
//! | `spawn` | 400 | name, which ends with a byte 0 | the child's number |
//! | `task_info` | 410 | `*mut TaskInfo` | 0 |
//!
//! The result of a call that fails is −1. `waitpid` returns −1 if there is no such child, and −2 if
//! none has ended yet. A buffer may cross pages and areas. A program that is killed has the exit
//! status −2 for a page fault, and −3 for any other exception.
//!
//! Addresses and structures are those of a 64-bit machine, and the same on all of them.
#![no_std]
#![cfg(target_os = "none")]

extern crate alloc;

mod calls;
mod memory;
mod programs;

use alloc::boxed::Box;

use axerrno::AxResult;
use axhal::uspace::{AfterTrap, UserContext, UserRegisters};
use axlog::ax_println as println;
use axprocess::{Executable, Kill, Next, Personality, Task};
use axtask::try_box;

use self::memory::Heap;

pub use self::programs::{NamedProgram, Programs, file_in};
pub use axprocess::{Exit, Process};
pub use axtask::Shared;

/// The numbers of calls that are counted: those below this.
const COUNTED: usize = 500;

/// What a program has done, once it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The number of its process.
    pub process: u64,
    /// The name of the program.
    pub name: &'static str,
    /// How it has ended.
    pub exit: Exit,
    /// The number of its system calls.
    pub calls: u64,
    /// The number of its page faults.
    pub faults: u64,
    /// The bytes that it has printed.
    pub printed: u64,
    /// The bytes of memory that were mapped when it ended.
    pub resident: usize,
}

/// A program of the tutorial.
pub struct Tutorial {
    programs: &'static Programs,
    name: &'static str,
    /// Called when a program has ended.
    report: fn(&Ended),
    heap: Heap,
    /// How often each call was made. The last counts calls with other numbers.
    counts: Box<[u32; COUNTED + 1]>,
    printed: u64,
    /// When the program began, in nanoseconds of monotonic time.
    begin: u64,
}

/// Makes the process whose children are the programs that the kernel begins.
///
/// # Errors
///
/// `NoMemory`.
pub fn new_root() -> AxResult<Shared<Process>> {
    Process::new_root()
}

/// Begins `program` as a child of `parent`. Calls `report` when it, or a program that it has begun,
/// has ended. Returns its number.
///
/// # Errors
///
/// `NoMemory`.
pub fn begin(
    parent: &Shared<Process>,
    programs: &'static Programs,
    program: &'static NamedProgram,
    report: fn(&Ended),
) -> AxResult<u64> {
    let executable = Executable::new(program.program())?;
    let personality = Tutorial::new(programs, program, report)?;
    axprocess::begin(parent, program.name(), executable, personality)
}

impl Tutorial {
    fn new(
        programs: &'static Programs,
        program: &'static NamedProgram,
        report: fn(&Ended),
    ) -> AxResult<Self> {
        Ok(Self {
            programs,
            name: program.name(),
            report,
            heap: Heap::new(program.program().end()),
            counts: try_box([0; COUNTED + 1])?,
            printed: 0,
            begin: axhal::time::monotonic_time_nanos(),
        })
    }

    /// Returns what a fork's child begins with.
    fn for_child(&self) -> AxResult<Self> {
        Ok(Self {
            counts: try_box([0; COUNTED + 1])?,
            printed: 0,
            begin: axhal::time::monotonic_time_nanos(),
            heap: self.heap,
            ..*self
        })
    }

    /// Says that the process runs `program` from now on.
    fn become_program(&mut self, program: &'static NamedProgram) {
        self.name = program.name();
        self.heap = Heap::new(program.program().end());
    }

    fn count(&mut self, number: usize) {
        let count = &mut self.counts[number.min(COUNTED)];
        *count = count.wrapping_add(1);
    }
}

impl Personality for Tutorial {
    #[inline(always)]
    fn syscall(&mut self, task: &Task<'_>, registers: &mut UserRegisters) -> AfterTrap {
        self.count(registers.call_number());
        match self.call(task, registers) {
            Some(result) => {
                registers.set_result(result as usize);
                AfterTrap::Resume
            }
            None => AfterTrap::Leave,
        }
    }

    fn syscall_with_context(&mut self, task: &Task<'_>, context: &mut UserContext) -> Next {
        self.call_with_context(task, context)
    }

    fn on_exit(&mut self, task: &Task<'_>, exit: Exit, faults: u64) {
        let process = task.process.id();
        if let Exit::Killed(kill) = exit {
            println!(
                "[kernel] process {process}, {}, is killed: {kill}",
                self.name
            );
        }
        (self.report)(&Ended {
            process,
            name: self.name,
            exit,
            calls: self.counts.iter().map(|count| u64::from(*count)).sum(),
            faults,
            printed: self.printed,
            resident: task.space.resident_total().all,
        });
    }
}

/// Returns the exit status that `waitpid` reports.
fn status(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Killed(Kill::Fault(..)) => -2,
        Exit::Killed(Kill::Exception(..)) => -3,
    }
}
