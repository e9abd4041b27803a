//! An address space that many harts use: its lock, and which harts have entered it.

use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use axerrno::{AxError, AxResult};
use axhal::arch::IrqsOff;
use axhal::hart::this_hart;
use axhal::paging::{Forget, claim_user, enter_user, leave_user};
use axhal::percpu;
use kspin::{SpinNoIrq, SpinNoIrqGuard};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::aspace::{AddrSpace, Resolved};
use crate::backend::{Grain, Hand};
use crate::context::{Ids, Stale};
use crate::kernel::kernel_page_table_root;

/// The ids of this machine. Its first hart says how many there are.
pub static IDS: Ids = Ids::new(0);

/// The address space that this hart has entered: a `SharedAspace`, or 0.
#[percpu::def_percpu]
static ENTERED: usize = 0;

/// The generation of ids that this hart has seen last.
#[percpu::def_percpu]
static GENERATION: u64 = 0;

/// Nobody holds the lock.
const NOBODY: usize = usize::MAX;

/// An address space, and the lock on it.
pub struct SharedAspace {
    lock: SpinNoIrq<AddrSpace>,
    /// The hart that holds the lock, to tell a fault under it from all others.
    holder: AtomicUsize,
    root: PhysAddr,
    /// Whether a hart can be in it.
    enterable: bool,
}

/// The locked address space. Interrupts are kept out meanwhile.
pub struct AspaceGuard<'a> {
    guard: SpinNoIrqGuard<'a, AddrSpace>,
    holder: &'a AtomicUsize,
}

impl SharedAspace {
    /// Puts a lock on an address space.
    pub fn new(aspace: AddrSpace) -> Self {
        Self {
            root: aspace.page_table_root(),
            enterable: aspace.is_enterable(),
            lock: SpinNoIrq::new(aspace),
            holder: AtomicUsize::new(NOBODY),
        }
    }

    /// The physical address of the page table's root.
    pub fn page_table_root(&self) -> PhysAddr {
        self.root
    }

    /// Waits until no other hart works on the address space, answering their
    /// TLB requests meanwhile.
    #[inline]
    pub fn lock(&self) -> AspaceGuard<'_> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> AspaceGuard<'_> {
        let mut turn = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            axhal::tlb::answer();
            axhal::hart::relax(turn);
            turn += 1;
        }
    }

    /// The lock, if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<AspaceGuard<'_>> {
        // On a machine of one hart the lock itself is none.
        match self.held_by_this_hart() {
            true => None,
            false => self.try_take(),
        }
    }

    /// The lock, which this hart does not hold, if nobody else does.
    #[inline(always)]
    fn try_take(&self) -> Option<AspaceGuard<'_>> {
        let guard = self.lock.try_lock()?;
        self.holder.store(this_hart(), Ordering::Relaxed);
        Some(AspaceGuard {
            guard,
            holder: &self.holder,
        })
    }

    /// Runs `f` in the address space of a user program: until it returns this hart
    /// translates the lower half by it, and page faults there are the address
    /// space's. Then what was there before is there again.
    ///
    /// The kernel itself may only access what is not mapped for users
    /// ([`MappingFlags::USER`]): for that there are
    /// [`read`](AddrSpace::read) and [`write`](AddrSpace::write). `f` stays on this
    /// hart. In a process, where all harts share one lower half, this waits for harts in
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
        let before = Self::entered();
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
        let from = Self::entered();
        // Out of the one before first, and under its lock: whoever changes it finds this
        // hart inside, translating by it, or gone.
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
        let guard = self.lock();
        // SAFETY: the kernel's root stays for ever.
        unsafe { leave_user(kernel_page_table_root()) };
        guard.context().leave(this_hart());
    }

    /// # Safety
    ///
    /// As [`switch`](Self::switch), with interrupts out.
    unsafe fn enter(&self) {
        // Before the lock, which those that it waits for may need.
        claim_user(self.root);
        let mut generation = GENERATION.read_current();
        let guard = self.lock();
        let (asid, stale) = guard.context().enter(&IDS, this_hart(), &mut generation);
        GENERATION.write_current(generation);
        let forget = match stale {
            Stale::Nothing => Forget::Nothing,
            Stale::Own => Forget::Asid,
            Stale::All => Forget::Everything,
        };
        // SAFETY: the caller's promise.
        unsafe { enter_user(self.root, asid, forget) };
    }

    /// The address space that this hart has entered. It stays as long as this hart is
    /// in it, which is longer than whoever asks can tell.
    pub(crate) fn entered() -> Option<&'static Self> {
        let entered = ENTERED.read_current();
        // SAFETY: `switch` has put it there, and whoever called that keeps it alive until
        // it is there no more; no reference outlives what this hart does inside.
        (entered != 0).then(|| unsafe { &*ptr::with_exposed_provenance(entered) })
    }

    /// Makes the access of the kernel at `vaddr` possible, if it may be made.
    pub(crate) fn handle_page_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        // A fault of the code that works on the address space itself cannot be
        // helped by that code.
        if self.held_by_this_hart() {
            return false;
        }
        // What most faults need is in hand, and full of zeroes, before the lock is.
        let mut hand = Hand::with_one();
        let wanted = match self.try_take() {
            Some(mut guard) => match guard.resolve(vaddr, access, MappingFlags::USER, &mut hand) {
                Resolved::Yes => return true,
                Resolved::No => return false,
                Resolved::Wants(grain) => Some(grain),
            },
            None => None,
        };
        self.handle_slowly(vaddr, access, &mut hand, wanted)
    }

    /// The same where another hart has the lock, or more is wanted in hand.
    #[cold]
    #[inline(never)]
    fn handle_slowly(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        hand: &mut Hand,
        mut wanted: Option<Grain>,
    ) -> bool {
        loop {
            if let Some(grain) = wanted {
                hand.fetch(grain);
            }
            match self.lock().resolve(vaddr, access, MappingFlags::USER, hand) {
                Resolved::Yes => return true,
                Resolved::No => return false,
                Resolved::Wants(grain) => wanted = Some(grain),
            }
        }
    }

    pub(crate) fn held_by_this_hart(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == this_hart()
    }
}

impl Drop for AspaceGuard<'_> {
    fn drop(&mut self) {
        self.holder.store(NOBODY, Ordering::Relaxed);
    }
}

impl Deref for AspaceGuard<'_> {
    type Target = AddrSpace;

    fn deref(&self) -> &AddrSpace {
        &self.guard
    }
}

impl DerefMut for AspaceGuard<'_> {
    fn deref_mut(&mut self) -> &mut AddrSpace {
        &mut self.guard
    }
}
