//! A comment `//~ CODE` says that the line below it must fail with the error CODE. All other
//! lines compile.

use core::fmt;

use axstd::memory::{AddrSpace, MappingFlags, SharedAspace, kernel_aspace};
use axstd::os::arceos::modules::axhal::paging::{claim_user, leave_user, set_kernel_root};
use axstd::os::arceos::modules::axhal::trap::{Access, PageFaultHandler};
use axstd::os::arceos::modules::axhal::{self, arch, context, hart, mem, startup};
use axstd::os::arceos::modules::axmm::VirtAddr;
use axstd::os::arceos::modules::{axalloc, axtask};
use axstd::thread;

const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// Ends a thread while another thread borrows from its stack.
pub fn end_within_a_scope() {
    let borrowed = [0_u8; 64];
    thread::scope(|scope| {
        scope.spawn(|| borrowed.iter().sum::<u8>());
        //~ E0133
        axtask::exit()
    });
}

/// Keeps a reference to an address space that may have been dropped.
pub fn keep_what_is_entered() -> Option<&'static SharedAspace> {
    //~ E0133
    SharedAspace::entered().as_ref()
}

/// Maps frames at a second address, through which they could be written.
pub fn map_twice(space: &AddrSpace, frames: &axalloc::Frames) {
    let start = space.base();
    //~ E0133
    let _ = space.map_linear(start, frames.start(), 4096, RW);
    //~ E0133
    let _ = kernel_aspace().map_linear(start, frames.start(), 4096, RW);
    //~ E0133
    let _ = space.map_linear_named("mine", start, frames.start(), 4096, RW);
}

/// Unmaps or protects a mapping that something else owns: a thread's stack.
pub fn take_a_stack_away(thread: &thread::Thread) {
    let stack = thread.stack_bottom().into();
    //~ E0133
    let _ = kernel_aspace().unmap_owned(stack, 4096);
    //~ E0133
    let _ = kernel_aspace().protect_owned(stack, 4096, RW);
}

/// Takes ownership of frames that have an owner already.
pub fn take_frames(frames: &axalloc::Frames) {
    //~ E0133
    let _ = axalloc::Frames::from_raw(frames.start());
    //~ E0133
    let _ = axalloc::SharedFrames::from_raw(frames.start());
    //~ E0133
    let _ = axalloc::FrameRun::from_raw(frames.start(), 1);
    //~ E0133
    let _ = axalloc::add_memory(&[0..4096]);
}

/// Enters an address space that could be dropped meanwhile, or that does not map the kernel.
pub fn enter(space: &'static SharedAspace) {
    //~ E0133
    SharedAspace::switch(Some(space));
    let root = space.page_table_root();
    //~ E0133
    claim_user(root);
    //~ E0133
    leave_user(root);
    //~ E0133
    set_kernel_root(root);
    //~ E0133
    space.tlb_state().leave(0);
}

/// Starts a hart again, on a stack and per-hart data that are in use.
pub fn start_again() {
    //~ E0133
    startup::init_primary();
    //~ E0133
    startup::init_secondary(0);
    //~ E0133
    let _ = startup::start(1);
    //~ E0133
    hart::set_stack(0);
}

/// Sets up the per-hart data a second time.
pub fn own_data_again(memory: *mut u8) {
    //~ E0433
    let _ = axhal::percpu::init(memory, 1);
}

/// Overwrites registers and memory that are in use.
pub fn overwrite(start: *mut u8) {
    //~ E0133
    arch::Float::UNUSED.restore();
    let mut here = context::Context::running();
    let there = context::Context::running();
    //~ E0133
    context::Context::switch(&raw mut here, &raw const there);
    //~ E0133
    mem::zero_pages(start, 4096);
}

/// A page fault handler that enables interrupts.
pub struct Handler;

//~ E0200
impl PageFaultHandler for Handler {
    fn handle(&self, _: VirtAddr, _: Access) -> bool {
        arch::enable_irqs();
        true
    }

    fn describe(&self, _: VirtAddr, _: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
}
