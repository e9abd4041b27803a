//! System calls. Results are those of the kernel: −1 is an error of any kind.

use core::ffi::CStr;

use crate::machine::system_call;

/// The numbers of system calls.
pub mod number {
    /// `write(file, buffer, length)`
    pub const WRITE: usize = 64;
    /// `exit(status)`
    pub const EXIT: usize = 93;
    /// `yield()`
    pub const YIELD: usize = 124;
    /// `get_time(*mut TimeVal, time zone)`
    pub const GET_TIME: usize = 169;
    /// `getpid()`
    pub const GETPID: usize = 172;
    /// `sbrk(increment)`
    pub const SBRK: usize = 214;
    /// `munmap(start, length)`
    pub const MUNMAP: usize = 215;
    /// `fork()`
    pub const FORK: usize = 220;
    /// `exec(path)`
    pub const EXEC: usize = 221;
    /// `mmap(start, length, port)`
    pub const MMAP: usize = 222;
    /// `waitpid(process, *mut i32)`
    pub const WAITPID: usize = 260;
    /// `spawn(path)`
    pub const SPAWN: usize = 400;
    /// `task_info(*mut TaskInfo)`
    pub const TASK_INFO: usize = 410;
    /// The end of the numbers that [`TaskInfo`](super::TaskInfo) counts.
    pub const END: usize = 500;
}

/// The right to read, for [`mmap`].
pub const READ: usize = 1;
/// The right to write, for [`mmap`].
pub const WRITE: usize = 2;
/// The right to execute, for [`mmap`].
pub const EXECUTE: usize = 4;

/// A time since the machine has started.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeVal {
    /// Whole seconds.
    pub sec: usize,
    /// The rest, in microseconds.
    pub usec: usize,
}

/// The state of a process. A number and not an `enum`, because the kernel writes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus(pub u8);

impl TaskStatus {
    /// The process does not exist yet.
    pub const UNINIT: Self = Self(0);
    /// The process waits for a hart.
    pub const READY: Self = Self(1);
    /// The process runs.
    pub const RUNNING: Self = Self(2);
    /// The process has ended.
    pub const EXITED: Self = Self(3);
}

/// What the kernel knows of the process that asks.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The state of the process.
    pub status: TaskStatus,
    /// How often each system call was made, with the call that asks for it.
    pub syscall_times: [u32; number::END],
    /// Milliseconds since the process first ran.
    pub time: usize,
}

impl TaskInfo {
    /// Makes a value for the kernel to fill in.
    pub const fn new() -> Self {
        Self {
            status: TaskStatus::UNINIT,
            syscall_times: [0; number::END],
            time: 0,
        }
    }
}

impl Default for TaskInfo {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a system call with any arguments.
///
/// # Safety
///
/// If the call writes to memory, or takes memory away, no reference to that memory is used
/// afterwards.
pub unsafe fn raw(number: usize, arguments: [usize; 3]) -> isize {
    // SAFETY: the caller's promise.
    unsafe { system_call(number, arguments) }
}

/// Makes a system call that changes no memory of the program.
fn call(number: usize, arguments: [usize; 3]) -> isize {
    // SAFETY: the calls that are made through this function only read memory.
    unsafe { system_call(number, arguments) }
}

/// Writes bytes to a file. Returns how many.
pub fn write(file: usize, bytes: &[u8]) -> isize {
    call(number::WRITE, [file, bytes.as_ptr() as usize, bytes.len()])
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    loop {
        call(number::EXIT, [status as usize, 0, 0]);
    }
}

/// Lets another thread run.
pub fn yield_now() -> isize {
    call(number::YIELD, [0; 3])
}

/// Returns the time since the machine has started.
pub fn get_time() -> TimeVal {
    let mut time = TimeVal::default();
    // SAFETY: the kernel writes only `time`, which is borrowed exclusively.
    let result = unsafe { system_call(number::GET_TIME, [&raw mut time as usize, 0, 0]) };
    assert_eq!(result, 0, "get_time");
    time
}

/// Returns the time since the machine has started, in microseconds.
pub fn time_us() -> usize {
    let time = get_time();
    time.sec * 1_000_000 + time.usec
}

/// Returns the number of this process.
pub fn getpid() -> isize {
    call(number::GETPID, [0; 3])
}

/// Moves the end of the heap. Returns where it was.
///
/// # Safety
///
/// If `increment` is negative, no reference to the memory that it frees is used afterwards.
pub unsafe fn sbrk(increment: i32) -> isize {
    // SAFETY: the caller's promise.
    unsafe { system_call(number::SBRK, [increment as usize, 0, 0]) }
}

/// Maps zeroed pages at an address where none are.
pub fn mmap(start: usize, len: usize, port: usize) -> isize {
    call(number::MMAP, [start, len, port])
}

/// Takes mapped pages away.
///
/// # Safety
///
/// No reference to these pages is used afterwards.
pub unsafe fn munmap(start: usize, len: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { system_call(number::MUNMAP, [start, len, 0]) }
}

/// Begins a copy of this program. Returns 0 in the copy, and its number in the original.
pub fn fork() -> isize {
    call(number::FORK, [0; 3])
}

/// Replaces this program by another one. Returns only on an error.
pub fn exec(path: &CStr) -> isize {
    call(number::EXEC, [path.as_ptr() as usize, 0, 0])
}

/// Begins a program as a child. Returns its number.
pub fn spawn(path: &CStr) -> isize {
    call(number::SPAWN, [path.as_ptr() as usize, 0, 0])
}

/// Looks after the end of a child, or of any child if `process` is −1. Returns its number, −1 if
/// there is no such child, or −2 if it has not ended yet.
pub fn waitpid(process: isize, status: &mut i32) -> isize {
    let status = &raw mut *status as usize;
    // SAFETY: the kernel writes only `status`, which is borrowed exclusively.
    unsafe { system_call(number::WAITPID, [process as usize, status, 0]) }
}

/// Fills in what the kernel knows of this process.
pub fn task_info(info: &mut TaskInfo) -> isize {
    let info = &raw mut *info as usize;
    // SAFETY: the kernel writes only `info`, which is borrowed exclusively.
    unsafe { system_call(number::TASK_INFO, [info, 0, 0]) }
}
