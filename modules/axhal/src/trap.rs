//! What a hart does on a trap, once the trap entry has saved registers.
//!
//! A page fault goes to the page-fault handler, and then to the fix-ups of
//! [`probe`]. An interrupt goes to the platform. Any other trap ends the
//! machine.

use core::fmt::{self, Write};

use memory_addr::VirtAddr;
use spin::Once;

pub use crate::access::{Access, PageFault};
use crate::arch::{TrapFrame, disable_irqs, enable_irqs};
use crate::hart::{guard_of, lift_stack_limit};
use crate::mem::{IMAGE_IS_IN_RAM, section_of};
use crate::power::fail;
use crate::{probe, threads};

/// The memory manager's page-fault handler.
///
/// # Safety
///
/// [`handle`](Self::handle) leaves interrupts off, and takes no trap from which it would
/// continue. When it is called, the trap entry has not yet saved where the interrupted code
/// continues, and a second trap overwrites the register that says so.
pub unsafe trait PageFaultHandler: Sync {
    /// Makes the access possible, if the address space allows it and the work is bounded.
    /// Returns whether it did. Called with interrupts off.
    fn handle(&self, addr: VirtAddr, access: Access) -> bool;

    /// Makes an access of a user program possible, as [`handle`](Self::handle) does. The program may
    /// not access what is the kernel's alone. Without user programs there is nothing to do.
    fn handle_user(&self, addr: VirtAddr, access: Access) -> bool {
        let _ = (addr, access);
        false
    }

    /// Makes the access possible, if the address space allows it, however long that takes.
    /// Returns whether it did. Called when [`handle`](Self::handle) has returned `false`,
    /// with interrupts as the interrupted code had them.
    fn handle_at_length(&self, addr: VirtAddr, access: Access) -> bool;

    /// Writes to `out`, in a few words, what is mapped at `addr`. It must not wait for a
    /// lock, because the kernel is about to end.
    ///
    /// # Errors
    ///
    /// The error of a write to `out`.
    fn describe(&self, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result;
}

static PAGE_FAULT_HANDLER: Once<&'static dyn PageFaultHandler> = Once::new();

/// Registers the page-fault handler. Only the first call has an effect.
pub fn set_page_fault_handler(handler: &'static dyn PageFaultHandler) {
    PAGE_FAULT_HANDLER.call_once(|| handler);
}

/// Displays what is mapped at an address.
struct MappingAt(VirtAddr);

impl fmt::Display for MappingAt {
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
        // In a process the page table, and so the handler, does not know of the image.
        if !IMAGE_IS_IN_RAM && let Some(section) = section_of(self.0.as_usize()) {
            return write!(f, "the image's {}", section.name);
        }
        match PAGE_FAULT_HANDLER.get() {
            Some(handler) => handler.describe(self.0, f),
            None => f.write_str("not known: the image has no memory manager"),
        }
    }
}

/// Handles a page fault within bounded time. Called by the trap entry, before it has saved a
/// whole frame. Returns whether the access can be made now. If not, the trap entry calls
/// [`on_page_fault`].
#[cfg(any(target_os = "none", feature = "paging"))]
pub(crate) fn handle_page_fault(addr: usize, access: Access) -> bool {
    let handler = PAGE_FAULT_HANDLER.get();
    handler.is_some_and(|handler| handler.handle(VirtAddr::from_usize(addr), access))
}

/// Handles a page fault of a user program within bounded time. Called by the trap entry, as
/// [`handle_page_fault`] is. Returns whether the access can be made now.
#[cfg(all(feature = "uspace", target_os = "none"))]
pub(crate) fn handle_user_page_fault(addr: usize, access: Access) -> bool {
    let handler = PAGE_FAULT_HANDLER.get();
    handler.is_some_and(|handler| handler.handle_user(VirtAddr::from_usize(addr), access))
}

/// Handles a page fault for which [`handle_page_fault`] has returned `false`, or ends the
/// machine.
pub(crate) fn on_page_fault(frame: &mut TrapFrame, addr: usize, access: Access) {
    let fault = PageFault {
        addr: VirtAddr::from_usize(addr),
        access,
    };
    let may_wait = !probe::is_in_copy(frame);
    if (may_wait && handle_at_length(frame, &fault)) || probe::fix_up(frame, &fault) {
        return;
    }
    fail(
        format_args!("unhandled page fault: {access} {addr:#x}"),
        format_args!("  mapped there: {}\n{frame}", MappingAt(fault.addr)),
    );
}

/// Handles a page fault with interrupts as the interrupted code had them. Returns whether
/// the access can be made now.
fn handle_at_length(frame: &TrapFrame, fault: &PageFault) -> bool {
    let Some(handler) = PAGE_FAULT_HANDLER.get() else {
        return false;
    };
    let irqs_were_on = frame.irqs_were_on();
    if irqs_were_on {
        enable_irqs();
    }
    let handled = handler.handle_at_length(fault.addr, fault.access);
    if irqs_were_on {
        disable_irqs();
    }
    handled
}

/// Handles interrupt `irq`. A process has no trap entry for interrupts.
///
/// It may return much later, because other threads can run on this hart before the
/// interrupted one runs again.
#[cfg(target_os = "none")]
pub(crate) fn on_irq(irq: usize) {
    #[cfg(feature = "irq")]
    axplat::irq::handle(irq);
    threads::after_irq_or_defer();
    #[cfg(not(feature = "irq"))]
    let _ = irq;
}

/// Ends the machine on an exception for which the kernel has no handler.
pub(crate) fn on_exception(frame: &TrapFrame, what: fmt::Arguments) -> ! {
    fail(
        format_args!("unhandled exception: {what}"),
        format_args!("{frame}"),
    )
}

/// Ends the machine because the stack pointer `sp` has left the stack, or too little of it is
/// left. The caller runs on the emergency stack, on the stack of NMIs (x86_64), or on the signal
/// stack (host).
pub(crate) fn on_stack_overflow(frame: &TrapFrame, sp: usize) -> ! {
    lift_stack_limit();
    let mapping = MappingAt(VirtAddr::from_usize(sp));
    fail(
        format_args!("stack overflow: sp {sp:#x}"),
        format_args!("  mapped there: {mapping}\n{frame}"),
    )
}

/// Returns whether `addr` is in the guard zone of a hart's stack, or in that of the running
/// thread's stack.
#[cfg(target_arch = "x86_64")]
pub(crate) fn in_any_guard(addr: usize) -> bool {
    guard_of(addr).is_some() || threads::in_guard(addr)
}
