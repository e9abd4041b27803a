//! Boots a kernel with one hart for the tests of a file. The hart is a thread of its own, and
//! runs one test at a time.

use axhal::probe::can_write;
use axtask as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

const MEM: usize = 64 << 20;

struct Log;

#[crate_interface::impl_interface]
impl axlog::LogIf for Log {
    fn hart() -> usize {
        axhal::hart::this_hart()
    }

    fn owner() -> usize {
        1 + axhal::hart::this_hart()
    }

    fn wait(_turn: usize) -> bool {
        std::hint::spin_loop();
        true
    }

    fn stop() -> ! {
        axhal::power::stop()
    }
}

type Work = Box<dyn FnOnce() + Send>;

static HART: LazyLock<Mutex<SyncSender<Work>>> = LazyLock::new(|| {
    let (sender, work) = mpsc::sync_channel::<Work>(0);
    thread::spawn(move || {
        boot();
        work.iter().for_each(|work| work());
    });
    Mutex::new(sender)
});

/// Boots the kernel in the order of `axruntime`.
fn boot() {
    assert!(linux_host::power_on(1, MEM, ""));
    // SAFETY: this thread is the only hart, and has run no code of the kernel before.
    unsafe { axhal::startup::init_primary() };
    axalloc::init_hart().unwrap();
    let mut free = Vec::new();
    axhal::mem::for_each_free(|(start, size)| free.push(start..start + size));
    // SAFETY: this memory is free RAM of the inventory, which only the allocator uses from now
    // on. The linear mapping has it.
    unsafe { axalloc::add_memory(&free) }.unwrap();
    axmm::init_memory_management();
}

/// Runs a test on the hart. Panics if the test panics.
pub fn on_hart(test: impl FnOnce() + Send + 'static) {
    let hart = HART.lock().unwrap_or_else(PoisonError::into_inner);
    let (sender, done) = mpsc::sync_channel(1);
    let work = move || {
        let result = panic::catch_unwind(AssertUnwindSafe(test));
        sender.send(result).unwrap();
    };
    hart.send(Box::new(work)).unwrap();
    if let Err(failure) = done.recv().unwrap() {
        panic::resume_unwind(failure);
    }
}

/// Returns the word at an address.
pub fn load(addr: usize) -> u64 {
    // SAFETY: the tests read only pages that they have mapped, or a fault is what they test.
    unsafe { (addr as *const u64).read_volatile() }
}

/// Writes the word at an address.
pub fn store(addr: usize, value: u64) {
    // SAFETY: the page belongs to the test, or a fault is what it tests.
    unsafe { (addr as *mut u64).write_volatile(value) };
}

/// Returns whether the word at an address can be written.
pub fn writable(addr: usize) -> bool {
    // SAFETY: the probe writes only if it does not fault, and the page belongs to the test.
    unsafe { can_write(addr) }
}
