//! The system calls, but for those of memory.

use axerrno::AxResult;
use axhal::time::monotonic_time_nanos;
use axhal::uspace::{UserContext, UserRegisters};
use axlog::ax_print as print;
use axprocess::{Executable, Next, Task, UserSpace, WaitError, fork};
use bytemuck::NoUninit;
use memory_addr::VirtAddr;

use crate::memory::{map, unmap};
use crate::programs::NamedProgram;
use crate::{COUNTED, Tutorial, begin, status};

/// The numbers of the calls.
const WRITE: usize = 64;
const EXIT: usize = 93;
const YIELD: usize = 124;
const GET_TIME: usize = 169;
const GETPID: usize = 172;
const SBRK: usize = 214;
const MUNMAP: usize = 215;
const FORK: usize = 220;
const EXEC: usize = 221;
const MMAP: usize = 222;
const WAITPID: usize = 260;
const SPAWN: usize = 400;
const TASK_INFO: usize = 410;

/// The result of a call that fails.
const FAILED: isize = -1;
/// The result of `waitpid` if no such child has ended yet.
const NOT_YET: isize = -2;

/// The most bytes of a program's name.
const MAX_NAME: usize = 64;

/// The bytes that `write` copies at a time.
const AT_A_TIME: usize = 256;

/// The tutorial's `TimeVal`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct TimeVal {
    seconds: usize,
    microseconds: usize,
}

/// The tutorial's `TaskInfo`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct TaskInfo {
    /// The tutorial's `TaskStatus`.
    status: u32,
    counts: [u32; COUNTED],
    padding: u32,
    /// The time since the program began, in milliseconds.
    time: usize,
}

/// `TaskStatus::Running`.
const RUNNING: u32 = 2;

impl Tutorial {
    /// Makes a call. Returns its result, or `None` if the call needs all registers.
    #[inline(always)]
    pub fn call(&mut self, task: &Task<'_>, registers: &UserRegisters) -> Option<isize> {
        let number = registers.call_number();
        // The shortest call comes before all comparisons that longer ones need.
        if number == GETPID {
            return Some(task.process.id() as isize);
        }
        match number {
            FORK | EXEC | EXIT => None,
            _ => Some(self.longer_call(task, registers)),
        }
    }

    /// Makes a call that takes longer. It is not inlined, because the shortest calls would otherwise
    /// pay for its registers.
    #[inline(never)]
    fn longer_call(&mut self, task: &Task<'_>, registers: &UserRegisters) -> isize {
        let [a, b, c] = [0, 1, 2].map(|n| registers.argument(n));
        match registers.call_number() {
            YIELD => {
                axtask::yield_now();
                0
            }
            WRITE => self.write(task.space, a, b, c),
            GET_TIME => get_time(task.space, a),
            TASK_INFO => self.task_info(task.space, a),
            SBRK => match self.heap.grow(task.space, a as i32 as isize) {
                Some(end) => end as isize,
                None => FAILED,
            },
            MMAP => result_of(map(task.space, a, b, c)),
            MUNMAP => result_of(unmap(task.space, a, b)),
            WAITPID => wait(task, a as isize, b),
            SPAWN => self.spawn(task, a),
            _ => FAILED,
        }
    }

    /// Makes a call that needs all registers.
    pub fn call_with_context(&mut self, task: &Task<'_>, context: &mut UserContext) -> Next {
        let argument = context.registers.argument(0);
        let result = match context.registers.call_number() {
            EXIT => return Next::Exit(argument as i32),
            EXEC => match self.exec(task, argument) {
                Some(executable) => return Next::Exec(executable),
                None => FAILED,
            },
            FORK => self.fork(task, context),
            _ => FAILED,
        };
        context.registers.set_result(result as usize);
        Next::Continue
    }

    fn write(&mut self, space: &UserSpace, descriptor: usize, start: usize, len: usize) -> isize {
        if !matches!(descriptor, 1 | 2) {
            return FAILED;
        }
        let mut done = 0;
        while done < len {
            let mut bytes = [0; AT_A_TIME];
            let part = &mut bytes[..AT_A_TIME.min(len - done)];
            let address = VirtAddr::from_usize(start.wrapping_add(done));
            let count = space.read_some(address, part);
            let whole = match core::str::from_utf8(&part[..count]) {
                // The last character continues in the next part.
                Err(error)
                    if error.error_len().is_none()
                        && error.valid_up_to() > 0
                        && done + count < len =>
                {
                    error.valid_up_to()
                }
                _ => count,
            };
            print_bytes(&part[..whole]);
            done += whole;
            if count < part.len() {
                break;
            }
        }
        self.printed += done as u64;
        match done {
            0 if len > 0 => FAILED,
            _ => done as isize,
        }
    }

    fn task_info(&self, space: &UserSpace, address: usize) -> isize {
        let info = TaskInfo {
            status: RUNNING,
            counts: *self.counts.first_chunk().unwrap_or(&[0; COUNTED]),
            padding: 0,
            time: ((monotonic_time_nanos() - self.begin) / 1_000_000) as usize,
        };
        result_of(space.write_val(address.into(), &info).is_ok())
    }

    fn find(&self, space: &UserSpace, address: usize) -> Option<&'static NamedProgram> {
        let mut name = [0; MAX_NAME];
        let name = space.read_cstr(address.into(), &mut name).ok()?;
        self.programs.find(name)
    }

    fn spawn(&self, task: &Task<'_>, name: usize) -> isize {
        let Some(program) = self.find(task.space, name) else {
            return FAILED;
        };
        let child = begin(task.process, self.programs, program, self.report);
        child.map_or(FAILED, |id| id as isize)
    }

    fn exec(&mut self, task: &Task<'_>, name: usize) -> Option<Executable> {
        let program = self.find(task.space, name)?;
        let executable = Executable::new(program.program()).ok()?;
        self.become_program(program);
        Some(executable)
    }

    fn fork(&self, task: &Task<'_>, context: &UserContext) -> isize {
        let mut registers = context.registers.clone();
        registers.set_result(0);
        let child = self.for_child();
        let child = child.and_then(|child| fork(task, self.name, registers, child));
        child.map_or(FAILED, |id| id as isize)
    }
}

/// Writes the time since boot.
fn get_time(space: &UserSpace, address: usize) -> isize {
    let now = monotonic_time_nanos();
    let time = TimeVal {
        seconds: (now / 1_000_000_000) as usize,
        microseconds: (now % 1_000_000_000 / 1000) as usize,
    };
    result_of(space.write_val(address.into(), &time).is_ok())
}

/// Waits for no child: returns one that has ended, and writes its exit status to `address`. If that
/// cannot be written, the child is not forgotten.
fn wait(task: &Task<'_>, which: isize, address: usize) -> isize {
    let which = match which {
        -1 => None,
        id => Some(id as u64),
    };
    let address = VirtAddr::from_usize(address);
    let same: AxResult<i32> = task.space.read_val(address);
    if same
        .and_then(|same| task.space.write_val(address, &same))
        .is_err()
    {
        return FAILED;
    }
    match task.process.try_wait(which) {
        Ok((id, exit)) => {
            // The address could be written just now, and this is the program's only thread.
            let _ = task.space.write_val(address, &status(exit));
            id as isize
        }
        Err(WaitError::NoChild) => FAILED,
        Err(WaitError::NotYet) => NOT_YET,
    }
}

fn result_of(is_done: bool) -> isize {
    match is_done {
        true => 0,
        false => FAILED,
    }
}

fn print_bytes(bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        print!("{}", chunk.valid());
        if !chunk.invalid().is_empty() {
            print!("\u{fffd}");
        }
    }
}
