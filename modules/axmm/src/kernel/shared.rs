//! Address spaces that harts can enter.

use core::ops::Deref;
use core::ptr;

use axerrno::{AxError, AxResult};
use axhal::arch::IrqsOff;
use axhal::hart::this_hart;
use axhal::paging::{Flush, claim_user, enter_user, leave_user};
use kspin::{SpinNoIrq, SpinNoIrqGuard};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::aspace::{AddrSpace, Fault};
use crate::backing::PreallocatedFrames;
use crate::kernel::kernel_page_table_root;
use crate::machine::{Machine, ThisMachine};
use crate::tlb::asid::AsidAllocator;
use crate::tlb::state::FlushOnEntry;

/// The ASIDs of this machine. The first hart sets how many there are.
pub static ASIDS: AsidAllocator = AsidAllocator::new(0);

/// The address of the `SharedAspace` that this hart has entered, or 0.
#[percpu::def_percpu]
static ENTERED: usize = 0;

/// The latest generation of ASIDs that this hart has seen.
#[percpu::def_percpu]
static GENERATION: u64 = 0;

/// An address space that harts can enter.
///
/// Its operations ([`AddrSpace`]) need no lock around them: operations on ranges that do not
/// overlap run side by side.
pub struct SharedAspace {
    aspace: AddrSpace,
    /// Held by a caller for a sequence of operations ([`lock`](Self::lock)).
    lock: SpinNoIrq<()>,
    root: PhysAddr,
    /// Whether a hart can enter it.
    enterable: bool,
}

/// An address space that the caller has [locked](SharedAspace::lock). Interrupts are disabled
/// while the guard exists.
pub struct AspaceGuard<'a> {
    aspace: &'a AddrSpace,
    _guard: SpinNoIrqGuard<'a, ()>,
}

impl SharedAspace {
    /// Makes an address space that harts can enter.
    pub fn new(aspace: AddrSpace) -> Self {
        Self {
            root: aspace.page_table_root(),
            enterable: aspace.is_enterable(kernel_page_table_root),
            lock: SpinNoIrq::new(()),
            aspace,
        }
    }

    /// Returns the physical address of the page table's root.
    pub fn page_table_root(&self) -> PhysAddr {
        self.root
    }

    /// Waits until no other caller holds the lock, and takes it. A caller holds it for a sequence of
    /// operations, such as finding free addresses and mapping them. Other callers of `lock` wait
    /// meanwhile. Page faults do not wait, nor do operations of code that does not call `lock`.
    pub fn lock(&self) -> AspaceGuard<'_> {
        let mut round = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            // The holder may be waiting for this hart to flush its TLB.
            ThisMachine::relax(round);
            round += 1;
        }
    }

    /// Takes the [lock](Self::lock), if it is free.
    pub fn try_lock(&self) -> Option<AspaceGuard<'_>> {
        Some(AspaceGuard {
            _guard: self.lock.try_lock()?,
            aspace: &self.aspace,
        })
    }

    /// Runs `f` in the address space of a user program. Until `f` returns, this hart translates
    /// the lower half by this address space, which handles page faults there. Afterwards the
    /// hart is in the address space in which it was before.
    ///
    /// The kernel itself may only access what is not mapped for users ([`MappingFlags::USER`]);
    /// for the rest there are [`read`](AddrSpace::read) and [`write`](AddrSpace::write). `f`
    /// stays on this hart, and may wait if it runs in a thread: the hart leaves the address
    /// space when another thread runs, and enters it again with this one.
    ///
    /// In a Linux process that plays the machine, all harts share one lower half. There this
    /// waits for harts in other address spaces, so the caller holds no lock that they may want.
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless [`new_user_aspace`](crate::new_user_aspace) made the address space:
    /// every hart is always in the kernel's, and one without the kernel's mappings cannot run
    /// kernel code.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> AxResult<R> {
        if !self.enterable {
            return Err(AxError::InvalidInput);
        }
        let before = Self::entered_ref();
        // SAFETY: `self` is borrowed until this returns, and the second `switch` below leaves
        // it before that. `f` uses the lower half only for what `self` maps there.
        unsafe { Self::switch(Some(self)) };
        let result = f();
        // SAFETY: the `run` that entered `before` has not returned, so `before` still exists.
        unsafe { Self::switch(before) };
        Ok(result)
    }

    /// Leaves the address space that this hart has entered, if any, and enters `to`.
    ///
    /// # Safety
    ///
    /// `to` exists until this hart has left it. Nothing in the lower half is in use.
    pub unsafe fn switch(to: Option<&Self>) {
        // This hart handles no flush request halfway: `TlbState::enter` requires it.
        let _guard = IrqsOff::new();
        let from = Self::entered_ref();
        // The hart leaves the old address space before it enters the new one. So whatever it
        // translates, it is inside that address space, and gets the flush requests for it.
        if let Some(from) = from
            && !to.is_some_and(|to| ptr::eq(from, to))
        {
            from.leave();
        }
        if let Some(to) = to {
            // SAFETY: `to` exists by the caller's promise. Its root translates the kernel half as
            // the kernel's root does, which `is_enterable` has checked. `_guard` disables
            // interrupts.
            unsafe { to.enter() };
        }
        ENTERED.write_current(to.map_or(0, |to| ptr::from_ref(to).expose_provenance()));
    }

    /// Leaves the address space. The caller has disabled interrupts.
    fn leave(&self) {
        // SAFETY: the kernel's address space is never dropped. After `leave_user` this hart
        // translates nothing by this address space.
        unsafe {
            leave_user(kernel_page_table_root());
            self.tlb_state().leave(this_hart());
        }
    }

    /// Enters the address space.
    ///
    /// # Safety
    ///
    /// The address space exists until this hart has left it. Nothing in the lower half is in
    /// use. Interrupts are disabled.
    unsafe fn enter(&self) {
        // Where all harts share one lower half (a Linux process), only one root may be in use. This
        // waits until harts in other address spaces have left.
        // SAFETY: by the caller's promise the root exists until this hart has left.
        unsafe { claim_user(self.root) };
        let mut generation = GENERATION.read_current();
        // SAFETY: `generation` is this hart's own, and `enter_user` below flushes what is stale.
        // Interrupts are disabled in between, by the caller's promise.
        let (asid, stale) = unsafe { self.tlb_state().enter(&ASIDS, this_hart(), &mut generation) };
        GENERATION.write_current(generation);
        let flush = match stale {
            FlushOnEntry::Nothing => Flush::Nothing,
            FlushOnEntry::Asid => Flush::Asid,
            FlushOnEntry::Everything => Flush::Everything,
        };
        // SAFETY: by the caller's promise the root exists until this hart has left, and
        // `claim_user` has claimed it.
        unsafe { enter_user(self.root, asid, flush) };
    }

    /// Returns a pointer to the address space that this hart has entered, or null. The address
    /// space exists until this hart leaves it.
    pub fn entered() -> *const Self {
        ptr::with_exposed_provenance(ENTERED.read_current())
    }

    /// Returns a reference to the address space that this hart has entered. Callers drop it before
    /// this hart leaves the address space.
    pub(crate) fn entered_ref() -> Option<&'static Self> {
        // SAFETY: `switch` stored the pointer, and its caller promised that the address space
        // exists until this hart leaves it. References in this crate end before that.
        unsafe { Self::entered().as_ref() }
    }

    /// Makes an access of the kernel at `vaddr` possible, if it is allowed and a bounded number
    /// of instructions is enough. Returns whether the access can be made. The caller has disabled
    /// interrupts.
    #[inline(always)]
    pub(crate) fn kernel_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        // Most faults need one frame. It is allocated and zeroed before the fault slot is taken.
        let mut frames = PreallocatedFrames::with_one_frame();
        self.fault_in_at_once(vaddr, access, MappingFlags::USER, &mut frames)
    }

    /// Makes an access of a user program at `vaddr` possible, if it is allowed and a bounded number
    /// of instructions is enough. Returns whether the access can be made. The caller has disabled
    /// interrupts.
    #[cfg(feature = "uspace")]
    #[inline(always)]
    pub(crate) fn user_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        // A first read maps the zero frame. A first write needs a frame.
        let mut frames = match access.contains(MappingFlags::WRITE) {
            true => PreallocatedFrames::with_one_frame(),
            false => PreallocatedFrames::empty(),
        };
        let access = access | MappingFlags::USER;
        self.fault_in_at_once(vaddr, access, MappingFlags::empty(), &mut frames)
    }

    /// Makes an access of the kernel at `vaddr` possible, if it is allowed. May wait for other
    /// harts.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    pub(crate) fn kernel_fault_at_length(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
    ) -> Result<(), Fault> {
        self.fault_in(vaddr, access, MappingFlags::USER)
    }
}

impl Deref for SharedAspace {
    type Target = AddrSpace;

    fn deref(&self) -> &AddrSpace {
        &self.aspace
    }
}

impl Deref for AspaceGuard<'_> {
    type Target = AddrSpace;

    fn deref(&self) -> &AddrSpace {
        self.aspace
    }
}
