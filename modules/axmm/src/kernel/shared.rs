//! An address space that harts can be in, and which of them are.

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

/// The ids of this machine. Its first hart says how many there are.
pub static ASIDS: AsidAllocator = AsidAllocator::new(0);

/// The address space that this hart has entered: a `SharedAspace`, or 0.
#[percpu::def_percpu]
static ENTERED: usize = 0;

/// The generation of ids that this hart has seen last.
#[percpu::def_percpu]
static GENERATION: u64 = 0;

/// An address space that harts can be in.
///
/// Its operations ([`AddrSpace`]) need no lock around them: those of ranges that do not
/// overlap run side by side.
pub struct SharedAspace {
    aspace: AddrSpace,
    /// For those that want several operations to be one.
    lock: SpinNoIrq<()>,
    root: PhysAddr,
    /// Whether a hart can be in it.
    enterable: bool,
}

/// The address space, which nobody else has [locked](SharedAspace::lock). Interrupts are
/// kept out meanwhile.
pub struct AspaceGuard<'a> {
    aspace: &'a AddrSpace,
    _guard: SpinNoIrqGuard<'a, ()>,
}

impl SharedAspace {
    /// Lets harts into an address space.
    pub fn new(aspace: AddrSpace) -> Self {
        Self {
            root: aspace.page_table_root(),
            enterable: aspace.is_enterable(kernel_page_table_root),
            lock: SpinNoIrq::new(()),
            aspace,
        }
    }

    /// The physical address of the page table's root.
    pub fn page_table_root(&self) -> PhysAddr {
        self.root
    }

    /// The address space, when nobody else has it by this function, so that several
    /// operations are one for all that call it, as to find free addresses and to map
    /// them. It keeps out neither page faults nor those that do without it.
    pub fn lock(&self) -> AspaceGuard<'_> {
        let mut turn = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            // Who has it may be waiting for this hart to forget something.
            ThisMachine::relax(turn);
            turn += 1;
        }
    }

    /// As [`lock`](Self::lock), if nobody has it.
    pub fn try_lock(&self) -> Option<AspaceGuard<'_>> {
        Some(AspaceGuard {
            _guard: self.lock.try_lock()?,
            aspace: &self.aspace,
        })
    }

    /// Runs `f` in the address space of a user program: until it returns this hart
    /// translates the lower half by it, and page faults there are the address
    /// space's. Then what was there before is there again.
    ///
    /// The kernel itself may only access what is not mapped for users
    /// ([`MappingFlags::USER`]): for that there are
    /// [`read`](AddrSpace::read) and [`write`](AddrSpace::write). `f` stays on this
    /// hart. If it is a thread's, it may wait: this hart leaves the address space when the
    /// thread goes, and enters it when it comes back. In a process, where all harts share one lower half, this waits for harts in
    /// other address spaces: it is called without a lock that one of those may want.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for one that was not made by
    /// [`new_user_aspace`](crate::new_user_aspace): the kernel's, which is always there,
    /// or one in which the kernel's mappings are missing.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> AxResult<R> {
        if !self.enterable {
            return Err(AxError::InvalidInput);
        }
        let before = Self::entered_here();
        // SAFETY: it is left, or entered by whoever had entered it before, before
        // `self` can go; and so is that one, whose own `run` has not returned.
        unsafe { Self::switch(Some(self)) };
        let result = f();
        // SAFETY: as above.
        unsafe { Self::switch(before) };
        Ok(result)
    }

    /// Leaves the address space that this hart has entered, if any, and enters `to`.
    ///
    /// # Safety
    ///
    /// `to` stays until this hart has left it. Nothing in the lower half is in use.
    pub unsafe fn switch(to: Option<&Self>) {
        // An interrupt that asks this hart to forget must find it outside or inside.
        let _guard = IrqsOff::new();
        let from = Self::entered_here();
        // Out of the one before first: whoever changes it finds this hart inside or gone.
        if let Some(from) = from
            && !to.is_some_and(|to| ptr::eq(from, to))
        {
            from.leave();
        }
        if let Some(to) = to {
            // SAFETY: the root is that of a live address space, by the caller's promise,
            // and translates the kernel half as the kernel's own does (`is_enterable`).
            unsafe { to.enter() };
        }
        ENTERED.write_current(to.map_or(0, |to| ptr::from_ref(to).expose_provenance()));
    }

    /// With interrupts out.
    fn leave(&self) {
        // SAFETY: the kernel's root stays for ever. After `leave_user` this hart translates
        // nothing by this address space.
        unsafe {
            leave_user(kernel_page_table_root());
            self.tlb_state().leave(this_hart());
        }
    }

    /// # Safety
    ///
    /// As [`switch`](Self::switch), with interrupts out.
    unsafe fn enter(&self) {
        // SAFETY: the root stays until this hart has left, by the caller's promise.
        unsafe { claim_user(self.root) };
        let mut generation = GENERATION.read_current();
        // SAFETY: `generation` is this hart's own, and `enter_user` below forgets what is
        // stale; interrupts are out in between, by the caller's promise.
        let (asid, stale) = unsafe { self.tlb_state().enter(&ASIDS, this_hart(), &mut generation) };
        GENERATION.write_current(generation);
        let forget = match stale {
            FlushOnEntry::Nothing => Flush::Nothing,
            FlushOnEntry::Asid => Flush::Asid,
            FlushOnEntry::Everything => Flush::Everything,
        };
        // SAFETY: the caller's promise.
        unsafe { enter_user(self.root, asid, forget) };
    }

    /// The address space that this hart has entered; null if none. It is there until this
    /// hart leaves it.
    pub fn entered() -> *const Self {
        ptr::with_exposed_provenance(ENTERED.read_current())
    }

    /// The address space that this hart has entered. Callers let the reference go before
    /// this hart leaves it.
    pub(crate) fn entered_here() -> Option<&'static Self> {
        // SAFETY: `switch` has put it there, and the caller of that keeps it alive until
        // this hart has left it; no reference in this crate outlives that.
        unsafe { Self::entered().as_ref() }
    }

    /// Makes the access of the kernel at `vaddr` possible, if it may be made and that takes a
    /// bounded number of instructions. Returns whether it did. Called with interrupts off.
    #[inline(always)]
    pub(crate) fn kernel_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        // What most faults need is in hand, and full of zeroes, before the fault slot is.
        let mut hand = PreallocatedFrames::with_one_frame();
        self.fault_in_at_once(vaddr, access, MappingFlags::USER, &mut hand)
    }

    /// Makes the access of the kernel at `vaddr` possible, if it may be made.
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
