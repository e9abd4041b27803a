//! The ways a machine ends. The boot argument `end=…` chooses one; each is to be
//! seen from outside, by the report on the console and the exit status.
#![no_std]
#![no_main]

extern crate alloc;

mod messages;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::black_box;

use axstd::memory::{Mapping, MappingFlags, sections, usage};
use axstd::thread::{Builder, JoinHandle};
use axstd::{env, harts, println, process};

const MIB: usize = 1 << 20;
/// Bytes of the stack that harts and threads have by default.
const STACK: usize = 256 << 10;
/// The least that a thread's stack can have.
const SMALL_STACK: usize = 16 << 10;

/// The endings there are, and what is to be seen of each.
const ENDINGS: &[(&str, fn())] = &[
    ("return", || {}),
    ("exit", || process::exit(42)),
    ("panic", || panic!("as asked for")),
    ("panic-elsewhere", || {
        on_the_last_hart(|| panic!("as asked for"))
    }),
    ("panic-in-thread", || {
        in_thread(Builder::new(), "panics", || panic!("as asked for"))
    }),
    ("null", || write_to(0)),
    ("read-only", || write_to(sections()[1].start)),
    ("unmapped", use_after_unmap),
    ("memory", || println!("{}", more_and_more().len())),
    ("memory-of-page", touch_until_no_frame_is_left),
    ("stack", || println!("{}", deeper(1))),
    ("stack-of-thread", || {
        in_thread(Builder::new(), "deep", || println!("{}", deeper(1)));
    }),
    ("large-frame", || large_frame::<{ 2 * STACK }>()),
    ("large-frame-of-hart", || {
        on_the_last_hart(large_frame::<{ STACK + MIB }>)
    }),
    ("large-frame-of-thread", || {
        let small = Builder::new().stack_size(SMALL_STACK);
        in_thread(small, "small", large_frame::<{ 23 << 10 }>);
    }),
    ("stack-everywhere", || {
        let _ = harts::run_on_all(|_| println!("{}", deeper(1)));
    }),
    ("panic-slow", messages::slow),
    ("panic-sleeps", messages::sleeps),
    ("panic-waits", messages::waits),
    ("panic-exits", messages::exits),
    ("panic-panics", messages::panics),
    ("panic-panics-twice", messages::panics_twice),
    ("panic-faults", messages::faults),
    ("panic-hangs", messages::hangs),
    ("panic-everywhere", messages::everywhere),
    ("panic-among-lines", messages::among_lines),
    ("prints", messages::prints),
    ("hang", || {
        loop {
            core::hint::spin_loop();
        }
    }),
];

#[unsafe(no_mangle)]
fn main() {
    let wanted = env::var("end").unwrap_or("return");
    match ENDINGS.iter().find(|(name, _)| *name == wanted) {
        Some((_, end)) => end(),
        None => {
            println!("end={wanted} is none of:");
            ENDINGS
                .iter()
                .for_each(|(name, _)| println!("  end={name}"));
            process::exit(2);
        }
    }
}

fn on_the_last_hart(end: fn()) {
    let last = (0..harts::count()).rfind(|&hart| harts::is_online(hart));
    let ran = harts::run_on_all(|hart| {
        if Some(hart) == last {
            end();
        }
    });
    println!("no hart has panicked: {ran:?}");
}

/// Ends a thread of this name on the last hart.
fn in_thread(thread: Builder, name: &str, end: fn()) {
    let last = (0..harts::count()).rfind(|&hart| harts::is_online(hart));
    let thread = thread.name(name.into()).hart(last.unwrap_or(0));
    if let Err(error) = thread.spawn(end).and_then(JoinHandle::join) {
        println!("{error:?}");
    }
}

fn write_to(addr: usize) {
    // SAFETY: none; that it faults is the point.
    unsafe { (addr as *mut u64).write_volatile(1) };
}

fn use_after_unmap() {
    let mapping = Mapping::populated(4096, MappingFlags::READ | MappingFlags::WRITE);
    if let Ok(mapping) = mapping {
        let addr = mapping.start();
        write_to(addr);
        drop(mapping);
        write_to(addr);
    }
}

/// Boxes until there is no memory for one more.
fn more_and_more() -> Vec<Box<[u64; 4096]>> {
    let mut boxes = Vec::new();
    loop {
        boxes.push(Box::new([boxes.len() as u64; 4096]));
    }
}

/// Writes to pages that get their frames at the first touch, until there is none.
fn touch_until_no_frame_is_left() {
    const PAGE: usize = 4096;
    let pages = usage().total + 1;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    match Mapping::lazy(pages * PAGE, rights) {
        Ok(mapping) => (0..pages).for_each(|page| write_to(mapping.start() + page * PAGE)),
        Err(error) => println!("{pages} pages cannot be mapped: {error:?}"),
    }
}

/// Fills an array of so many bytes on the stack.
#[inline(never)]
fn large_frame<const SIZE: usize>() {
    let array = black_box([0x41_u8; SIZE]);
    println!("{}", black_box(&array)[SIZE / 2]);
}

/// Calls itself until the stack is full.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == 0 {
        0
    } else {
        deeper(depth + 1) + room[63]
    }
}
