//! A user thread: the loop that runs a program and handles what comes of it.

use alloc::borrow::Cow;

use axerrno::AxResult;
use axhal::uspace::{AfterTrap, ReturnReason, SyscallHandler, UserContext, UserRegisters};
use axtask::{Shared, Spawn, spawn};

use crate::exit::{Exit, Kill};
use crate::personality::{Next, Personality, Task};
use crate::process::Process;
use crate::program::Program;
use crate::space::{STACK_TOP, UserSpace};

/// The bytes of the kernel's stack of a user thread.
const KERNEL_STACK: usize = 32 << 10;

/// A program in an address space, ready to begin.
pub struct Executable {
    space: UserSpace,
    entry: usize,
}

impl Executable {
    /// Makes an address space with `program` and a stack in it.
    ///
    /// # Errors
    ///
    /// Those of [`Program::map_into`] and [`UserSpace::map_stack`].
    pub fn new(program: &Program) -> AxResult<Self> {
        let space = UserSpace::new()?;
        program.map_into(&space)?;
        space.map_stack()?;
        let entry = program.entry();
        Ok(Self { space, entry })
    }

    /// Returns the registers with which the program begins.
    fn registers(&self) -> UserRegisters {
        UserRegisters::new(self.entry, STACK_TOP)
    }
}

/// Begins a program as a child of `parent`, in a thread named `name`. Returns the child's number.
///
/// # Errors
///
/// `NoMemory`. Then there is no child.
pub fn begin<P: Personality>(
    parent: &Shared<Process>,
    name: &'static str,
    executable: Executable,
    personality: P,
) -> AxResult<u64> {
    let registers = executable.registers();
    begin_thread(parent, name, executable.space, registers, personality)
}

/// Begins a copy of a program, which continues with `registers`, as a child of its process. Each
/// side sees only its own writes. Returns the child's number.
///
/// # Errors
///
/// `NoMemory`. Then there is no child.
pub fn fork<P: Personality>(
    task: &Task<'_>,
    name: &'static str,
    registers: UserRegisters,
    personality: P,
) -> AxResult<u64> {
    let space = task.space.fork()?;
    begin_thread(task.process, name, space, registers, personality)
}

/// Begins a child of `parent`, in a thread named `name`. Returns the child's number.
fn begin_thread<P: Personality>(
    parent: &Shared<Process>,
    name: &'static str,
    space: UserSpace,
    registers: UserRegisters,
    personality: P,
) -> AxResult<u64> {
    Process::begin_child(parent, |process| {
        let thread = UserThread {
            process,
            space,
            context: UserContext::new(registers),
            personality,
        };
        thread.begin(name)
    })
}

/// A thread that runs a program.
struct UserThread<P> {
    process: Shared<Process>,
    space: UserSpace,
    context: UserContext,
    personality: P,
}

/// Why the program does not go on in its address space.
enum End {
    Exec(Executable),
    Exit(Exit),
}

impl<P: Personality> UserThread<P> {
    fn begin(self, name: &'static str) -> AxResult {
        let properties = Spawn {
            name: Cow::Borrowed(name),
            stack_size: KERNEL_STACK,
            hart: None,
        };
        let process = self.process.clone();
        process.set_thread(spawn(properties, move || self.run())?);
        Ok(())
    }

    /// Runs the program to its end.
    fn run(mut self) {
        let exit = loop {
            match self.run_in_space() {
                End::Exec(executable) => {
                    self.context.registers = executable.registers();
                    self.space = executable.space;
                }
                End::Exit(exit) => break exit,
            }
        };
        let Self {
            process,
            space,
            personality,
            ..
        } = self;
        drop((space, personality));
        process.end(exit);
    }

    /// Runs the program until it needs another address space, or none.
    fn run_in_space(&mut self) -> End {
        let space = self.space.clone();
        let end = space.run(|| {
            let end = self.run_until_end(&space);
            if let End::Exit(exit) = &end {
                let process = &self.process;
                let task = Task {
                    process,
                    space: &space,
                };
                self.personality
                    .on_exit(&task, *exit, self.context.faults());
            }
            end
        });
        // Every address space of a program can be entered.
        end.unwrap_or(End::Exit(Exit::Code(-1)))
    }

    fn run_until_end(&mut self, space: &UserSpace) -> End {
        loop {
            let mut calls = Calls {
                process: &self.process,
                space,
                personality: &mut self.personality,
            };
            match self.context.run(&mut calls) {
                ReturnReason::Interrupt => {}
                ReturnReason::Syscall => {
                    let process = &self.process;
                    let task = Task { process, space };
                    let personality = &mut self.personality;
                    match personality.syscall_with_context(&task, &mut self.context) {
                        Next::Continue => {}
                        Next::Exec(executable) => return End::Exec(executable),
                        Next::Exit(code) => return End::Exit(Exit::Code(code)),
                    }
                }
                ReturnReason::PageFault(fault) => {
                    let resolved = space.user_fault_at_length(fault.addr, fault.access);
                    if let Err(reason) = resolved {
                        return End::Exit(Exit::Killed(Kill::Fault(fault, reason)));
                    }
                }
                ReturnReason::Exception(exception) => {
                    let pc = self.context.registers.pc();
                    return End::Exit(Exit::Killed(Kill::Exception(exception, pc)));
                }
            }
        }
    }
}

/// Passes system calls to the personality.
struct Calls<'a, P> {
    process: &'a Shared<Process>,
    space: &'a UserSpace,
    personality: &'a mut P,
}

impl<P: Personality> SyscallHandler for Calls<'_, P> {
    #[inline(always)]
    fn syscall(&mut self, registers: &mut UserRegisters) -> AfterTrap {
        let task = Task {
            process: self.process,
            space: self.space,
        };
        self.personality.syscall(&task, registers)
    }
}
