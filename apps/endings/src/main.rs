//! The ways in which a machine ends. The boot argument `end=…` chooses one. The report on the
//! console and the exit status show which it was; xtask's tests check both.
#![no_std]
#![no_main]

extern crate alloc;

mod messages;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::black_box;
use core::pin::Pin;

use axstd::memory::{
    AxError, AxResult, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, Mapping, MappingFlags, Sharing,
    VirtAddrRange, Vmo, kernel_aspace, sections, usage,
};
use axstd::os::arceos::modules::axhal;
use axstd::thread::{Builder, JoinHandle};
use axstd::{env, harts, println, process};

const MIB: usize = 1 << 20;
/// The default size in bytes of the stack of a hart or thread.
const STACK: usize = 256 << 10;
/// The size in bytes of the smallest stack of a thread.
const SMALL_STACK: usize = 16 << 10;

/// The endings, by the value of the boot argument.
const ENDINGS: &[(&str, fn())] = &[
    ("return", || {}),
    ("exit", || process::exit(42)),
    ("panic", || panic!("requested by end=")),
    ("panic-elsewhere", || {
        on_the_last_hart(|| panic!("requested by end="))
    }),
    ("panic-in-thread", || {
        in_thread(Builder::new(), "panics", || panic!("requested by end="))
    }),
    ("null", || write_to(0)),
    ("read-only", || write_to(sections()[1].start)),
    ("unmapped", use_after_unmap),
    ("past-object", || println!("{:?}", write_past_object())),
    ("memory", || println!("{}", exhaust_heap().len())),
    ("memory-of-page", exhaust_frames),
    ("stack", || println!("{}", recurse(1))),
    ("stack-of-thread", || {
        in_thread(Builder::new(), "deep", || println!("{}", recurse(1)));
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
        let _ = harts::run_on_all(|_| println!("{}", recurse(1)));
    }),
    ("interrupt-near-end", || {
        in_thread(Builder::new(), "deep", || {
            println!("{}", interrupt_near_end(1))
        });
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
            println!("end={wanted} is unknown; valid:");
            ENDINGS
                .iter()
                .for_each(|(name, _)| println!("  end={name}"));
            process::exit(2);
        }
    }
}

/// Runs `end` on the last online hart.
fn on_the_last_hart(end: fn()) {
    let last = (0..harts::count()).rfind(|&hart| harts::is_online(hart));
    let ran = harts::run_on_all(|hart| {
        if Some(hart) == last {
            end();
        }
    });
    println!("the machine has not ended: {ran:?}");
}

/// Runs `end` in a thread called `name`, on the last online hart.
fn in_thread(thread: Builder, name: &str, end: fn()) {
    let last = (0..harts::count()).rfind(|&hart| harts::is_online(hart));
    let thread = thread.name(name.into()).hart(last.unwrap_or(0));
    if let Err(error) = thread.spawn(end).and_then(JoinHandle::join) {
        println!("{error:?}");
    }
}

/// Writes to `addr`. The write faults, except for the mapped pages of `use_after_unmap` and
/// `exhaust_frames`.
fn write_to(addr: usize) {
    // SAFETY: the address is either in a mapping of the caller, or one at which a write faults,
    // which ends the machine without a change of memory.
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

/// Writes to a page that a memory object had when it was mapped. The object has shrunk since then.
fn write_past_object() -> AxResult {
    const PAGE: usize = 4096;
    let object = Vmo::new_resizable(PAGE)?;
    let space = Pin::static_ref(&**kernel_aspace());
    let limit = VirtAddrRange {
        start: KERNEL_MAP_BASE.into(),
        end: KERNEL_OWNED_BASE.into(),
    };
    let free = space.find_free_area(limit.start, PAGE, limit);
    let at = free.ok_or(AxError::NoMemory)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    space.map_object(at, PAGE, rights, &object, 0, Sharing::Shared)?;
    object.resize(0)?;
    write_to(at.as_usize());
    Ok(())
}

/// Allocates boxes until the heap can get no more memory, which ends the machine.
fn exhaust_heap() -> Vec<Box<[u64; 4096]>> {
    let mut boxes = Vec::new();
    loop {
        boxes.push(Box::new([boxes.len() as u64; 4096]));
    }
}

/// Writes to more lazy pages than there are frames. The page fault that finds no free frame ends
/// the machine.
fn exhaust_frames() {
    const PAGE: usize = 4096;
    let pages = usage().total + 1;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    match Mapping::lazy(pages * PAGE, rights) {
        Ok(mapping) => (0..pages).for_each(|page| write_to(mapping.start() + page * PAGE)),
        Err(error) => println!("{pages} pages cannot be mapped: {error:?}"),
    }
}

/// Fills an array of `SIZE` bytes on the stack.
#[inline(never)]
fn large_frame<const SIZE: usize>() {
    let array = black_box([0x41_u8; SIZE]);
    println!("{}", black_box(&array)[SIZE / 2]);
}

/// Calls itself until the stack overflows.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let array = black_box([depth; 64]);
    if depth == 0 {
        0
    } else {
        recurse(depth + 1) + array[63]
    }
}

/// Calls itself until so little of the stack is left that a report needs more, and takes a timer
/// interrupt there. A process takes no interrupts there: it overflows its stack.
#[inline(never)]
fn interrupt_near_end(depth: u64) -> u64 {
    /// Bytes of the stack that are left: enough for a trap's registers.
    const LEFT: usize = 600;
    let local = black_box([depth; 2]);
    if local.as_ptr().addr() - axhal::hart::stack() < LEFT {
        let now = axhal::time::monotonic_time_nanos();
        axhal::time::set_oneshot_timer(now);
        while axhal::time::monotonic_time_nanos() < now + 100_000_000 {
            core::hint::spin_loop();
        }
    }
    interrupt_near_end(depth + 1) + local[1]
}
