//! Makes 20,000 system calls at random, in four processes: wild numbers, wild pointers, wild
//! lengths. Nothing but these processes may notice.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile::{KERNEL, TOO_LARGE};
use user_lib::memory::{FREE, PAGE};
use user_lib::println;
use user_lib::process::{begin, wait_for};
use user_lib::syscall::number::{
    EXEC, FORK, GET_TIME, GETPID, MMAP, MUNMAP, SBRK, SPAWN, TASK_INFO, WAITPID, WRITE, YIELD,
};
use user_lib::syscall::{exit, raw};

/// The number of processes, and of the calls that each makes.
const PROCESSES: usize = 4;
const CALLS: usize = 5_000;

/// The pages that the calls map, unmap and write to.
const PAGES: usize = 64;

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) % end
    }

    fn one_of(&mut self, values: &[usize]) -> usize {
        values[self.below(values.len())]
    }

    /// An address among the pages of the calls, or a wild one. Never one that the program uses.
    fn address(&mut self) -> usize {
        match self.below(4) {
            0 => self.one_of(&[
                0,
                8,
                KERNEL,
                TOO_LARGE,
                usize::MAX,
                usize::MAX - 4095,
                1 << 38,
            ]),
            1 => FREE + self.below(PAGES * PAGE),
            _ => FREE + self.below(PAGES) * PAGE,
        }
    }

    /// A length: small, large, or beyond all addresses.
    fn len(&mut self) -> usize {
        match self.below(8) {
            0 => self.next(),
            1 => usize::MAX - self.below(10_000),
            2 => self.below(100),
            _ => PAGE * self.below(PAGES / 4),
        }
    }

    fn call(&mut self) -> (usize, [usize; 3]) {
        const NUMBERS: [usize; 9] = [
            GET_TIME, TASK_INFO, MMAP, MMAP, MUNMAP, WAITPID, SBRK, GETPID, YIELD,
        ];
        let number = match self.below(40) {
            // A number that is no call, or that of a call that names no program.
            0 => 501 + (self.next() >> 1),
            1 => self.one_of(&[EXEC, SPAWN]),
            2 => WRITE,
            _ => self.one_of(&NUMBERS),
        };
        let arguments = match number {
            // Not to the console, which others read.
            WRITE => [3 + self.below(1000), self.address(), self.len()],
            MUNMAP => [FREE + self.below(PAGES) * PAGE, PAGE * self.below(8), 0],
            SBRK => [
                (self.below(16 * PAGE) as isize - 8 * PAGE as isize) as usize,
                0,
                0,
            ],
            // Not any child: the program waits for its own at the end.
            WAITPID => [
                self.one_of(&[usize::MAX - 1, 0, 1, self.0 as usize]),
                self.address(),
                0,
            ],
            _ => [self.address(), self.len(), self.next() % 16],
        };
        (number, arguments)
    }
}

/// Makes the calls. A child that a fork has made ends at once.
fn make_calls(seed: u64) -> i32 {
    let mut random = Random(seed);
    for round in 0..CALLS {
        let (number, arguments) = random.call();
        // SAFETY: no address is one that the program uses.
        unsafe { raw(number, arguments) };
        if round % 1000 == 0 {
            // SAFETY: the call changes no memory.
            match unsafe { raw(FORK, [0; 3]) } {
                0 => exit(0),
                child => assert_eq!(wait_for(child), 0),
            }
        }
    }
    0
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut children = [0; PROCESSES - 1];
    for (number, child) in children.iter_mut().enumerate() {
        *child = begin(|| make_calls(SEED ^ number as u64));
    }
    assert_eq!(make_calls(!SEED), 0);
    for child in children {
        assert_eq!(wait_for(child), 0);
    }
    println!("chaos: {} calls", PROCESSES * CALLS);
    0
}
