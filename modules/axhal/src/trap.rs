//! What an interrupted hart does, once the architecture's entry code has saved
//! its registers: page faults go to whoever owns the addresses, and to a fix-up
//! where the kernel was only trying; interrupts go to the platform; anything
//! else is the end.

use core::fmt::{self, Write};

use bitflags::bitflags;
use memory_addr::VirtAddr;
use spin::Once;

use crate::arch::{TrapFrame, disable_irqs, enable_irqs};
use crate::hart::{guard_of, lift_limit};
use crate::mem::{IMAGE_IS_IN_RAM, section_of};
use crate::power::fail;
use crate::threads;

bitflags! {
    /// What a faulting access wanted to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// To read.
        const READ = 1;
        /// To write.
        const WRITE = 2;
        /// To fetch an instruction.
        const EXECUTE = 4;
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match *self {
            Self::WRITE => "write to",
            Self::EXECUTE => "instruction fetch at",
            _ => "read of",
        })
    }
}

/// An access that the page table did not allow.
#[derive(Clone, Copy, Debug)]
pub struct PageFault {
    /// The address that was accessed.
    pub addr: VirtAddr,
    /// How.
    pub access: Access,
}

/// Who owns the addresses: registered once, by the memory manager.
///
/// # Safety
///
/// [`handle`](Self::handle) lets no interrupt in, and takes no trap that it would come back
/// from: no more is saved yet than what a call may change.
pub unsafe trait PageFaultHandler: Sync {
    /// Makes the access possible, if it may be made and that takes a bounded number of
    /// instructions. Returns whether it did. Runs with interrupts off.
    fn handle(&self, addr: VirtAddr, access: Access) -> bool;

    /// Makes the access possible, if it may be made, however long that takes. Returns whether
    /// it did. Called when [`handle`](Self::handle) has returned `false`, with interrupts as
    /// the interrupted code had them.
    fn handle_at_length(&self, addr: VirtAddr, access: Access) -> bool;

    /// Says in a few words what is mapped at `addr`. Must not wait for a lock:
    /// it is asked when the kernel is about to end.
    fn describe(&self, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result;
}

static PAGE_FAULT_HANDLER: Once<&'static dyn PageFaultHandler> = Once::new();

/// Registers who handles page faults; the first to register stays.
pub fn set_page_fault_handler(handler: &'static dyn PageFaultHandler) {
    PAGE_FAULT_HANDLER.call_once(|| handler);
}

/// An address may or may not be mapped: what is there, in words.
struct WhatIsAt(VirtAddr);

impl fmt::Display for WhatIsAt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(number) = guard_of(self.0.as_usize()) {
            return write!(
                f,
                "the guard zone below hart {number}'s stack: the stack has overflowed"
            );
        }
        if threads::in_guard(self.0.as_usize()) {
            return f.write_str(
                "the guard zone below the running thread's stack: the stack has overflowed",
            );
        }
        // What the page table does not map, the page-fault handler does not know.
        if !IMAGE_IS_IN_RAM && let Some(section) = section_of(self.0.as_usize()) {
            return write!(f, "the image's {}", section.name);
        }
        match PAGE_FAULT_HANDLER.get() {
            Some(handler) => handler.describe(self.0, f),
            None => f.write_str("not known: the image has no memory manager"),
        }
    }
}

/// A page fault, from the architecture's entry code, which has saved no frame yet.
/// Returns whether the access can be made now. If not, [`on_page_fault`] is next.
#[cfg(any(target_os = "none", feature = "paging"))]
pub(crate) fn resolve(addr: usize, access: Access) -> bool {
    let handler = PAGE_FAULT_HANDLER.get();
    handler.is_some_and(|handler| handler.handle(VirtAddr::from_usize(addr), access))
}

/// A page fault that nobody has [resolved](resolve).
pub(crate) fn on_page_fault(frame: &mut TrapFrame, addr: usize, access: Access) {
    let fault = PageFault {
        addr: VirtAddr::from_usize(addr),
        access,
    };
    if resolve_at_length(frame, &fault) || crate::probe::fix_up(frame, &fault) {
        return;
    }
    fail(
        format_args!("unhandled page fault: {access} {addr:#x}"),
        format_args!("  mapped there: {}\n{frame}", WhatIsAt(fault.addr)),
    );
}

/// Resolves a page fault with interrupts as the interrupted code had them. Returns whether
/// the access can be made now.
fn resolve_at_length(frame: &TrapFrame, fault: &PageFault) -> bool {
    let Some(handler) = PAGE_FAULT_HANDLER.get() else {
        return false;
    };
    let irqs_were_on = frame.irqs_were_on();
    if irqs_were_on {
        enable_irqs();
    }
    let resolved = handler.handle_at_length(fault.addr, fault.access);
    if irqs_were_on {
        disable_irqs();
    }
    resolved
}

/// An interrupt, from the architecture's entry code. A process has no entry for any.
/// What was interrupted may go on much later, when its thread's turn comes.
#[cfg(target_os = "none")]
pub(crate) fn on_irq(irq: usize) {
    #[cfg(feature = "irq")]
    axplat::irq::handle(irq);
    threads::after_irq_or_later();
    #[cfg(not(feature = "irq"))]
    let _ = irq;
}

/// An exception that nothing in the kernel expects.
pub(crate) fn on_exception(frame: &TrapFrame, what: fmt::Arguments) -> ! {
    fail(
        format_args!("unhandled exception: {what}"),
        format_args!("{frame}"),
    )
}

/// The stack pointer has left the stack; the entry code has switched to the
/// emergency stack.
pub(crate) fn on_stack_overflow(frame: &TrapFrame, sp: usize) -> ! {
    lift_limit();
    let what = WhatIsAt(VirtAddr::from_usize(sp));
    fail(
        format_args!("stack overflow: sp {sp:#x}"),
        format_args!("  mapped there: {what}\n{frame}"),
    )
}

/// Whether `addr` is in a guard zone that the stack in use may have overflowed into.
#[cfg(target_arch = "x86_64")]
pub(crate) fn in_guard(addr: usize) -> bool {
    guard_of(addr).is_some() || threads::in_guard(addr)
}
