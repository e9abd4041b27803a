//! Registers of user programs that the kernel itself does not use, such as those for floating point.
//!
//! After a trap they keep the values of the program that ran last on the hart, its owner. Before
//! another program runs, they are stored for the owner and loaded for that program. So a trap that
//! switches to no other program costs nothing, and no program finds the values of another.

use core::cell::UnsafeCell;
use core::ptr;

use super::{IrqsOff, UserRegisters};

/// Registers that can be stored and loaded.
pub trait Extended: Copy {
    /// Their values when a program begins.
    const INITIAL: Self;

    /// Stores the registers of this hart.
    fn store(&mut self);

    /// Loads the registers of this hart.
    ///
    /// # Safety
    ///
    /// No code of the kernel expects them to keep their values, and the hart enters user mode by no
    /// other context before it calls this again.
    unsafe fn load(&self);
}

/// The address of the [`Place`] of the program whose values this hart's registers have, or 0.
#[percpu::def_percpu]
static OWNER: usize = 0;

/// Where the registers of one program are while they are not in a hart. While a hart has them, this
/// stays where it is.
#[derive(Debug)]
pub struct Place<R: Extended>(UnsafeCell<R>);

impl<R: Extended> Place<R> {
    /// The registers of a program that has not begun.
    pub fn new() -> Self {
        Self(UnsafeCell::new(R::INITIAL))
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Makes the registers those of this program, if they are not. Called with interrupts off, right
    /// before the program runs.
    #[inline(always)]
    fn take(&self) {
        if OWNER.read_current() != self.address() {
            self.take_from_owner();
        }
    }

    #[cold]
    #[inline(never)]
    fn take_from_owner(&self) {
        let owner: *const Self = ptr::with_exposed_provenance(OWNER.read_current());
        // SAFETY: an owner stays where it is until `give_up` on this hart, which sets `OWNER` to 0.
        if let Some(owner) = unsafe { owner.as_ref() } {
            owner.store();
        }
        // SAFETY: only this hart uses the value, with interrupts off. The kernel does not use the
        // registers, and the caller runs the program next.
        unsafe { (*self.0.get()).load() };
        OWNER.write_current(ptr::from_ref(self).expose_provenance());
    }

    /// Stores the registers, if they are those of this program. From now on they are of none. Called
    /// with interrupts off.
    fn give_up(&self) {
        if OWNER.read_current() == self.address() {
            self.store();
            OWNER.write_current(0);
        }
    }

    /// Changes the values. The program finds the new ones when it runs next. On loongarch64 no
    /// register that has to be set is among them.
    #[cfg(not(target_arch = "loongarch64"))]
    pub fn change(&mut self, change: impl FnOnce(&mut R)) {
        let _irqs_off = IrqsOff::new();
        self.give_up();
        change(self.0.get_mut());
    }

    /// Stores the registers. They are those of this program, and interrupts are off.
    fn store(&self) {
        // SAFETY: the value is used only by the hart that the program's thread runs on, with
        // interrupts off.
        unsafe { (*self.0.get()).store() };
    }
}

impl<R: Extended> Clone for Place<R> {
    /// Returns a place with the current values.
    fn clone(&self) -> Self {
        let _irqs_off = IrqsOff::new();
        if OWNER.read_current() == self.address() {
            self.store();
        }
        // SAFETY: the value is used only by the hart that the program's thread runs on, with
        // interrupts off.
        Self(UnsafeCell::new(unsafe { *self.0.get() }))
    }
}

impl UserRegisters {
    /// Does nothing: the kernel does not use the other registers.
    #[inline(always)]
    pub(crate) fn store_extended(&mut self) {}

    /// Loads the registers that the trap entry does not load, unless they still are those of the
    /// program. Called with interrupts off, right before the program continues.
    #[inline(always)]
    pub(crate) fn load_extended(&mut self) {
        self.extended.take();
    }

    /// Runs the program whose registers these are, until it leaves user mode for good. `context` is
    /// the address of the [`UserContext`](crate::uspace::UserContext) that they are in.
    ///
    /// # Safety
    ///
    /// The program's address space is entered, and interrupts are off. `this` is in the context, and no
    /// reference to it is used meanwhile.
    pub(crate) unsafe fn run(this: *mut Self, context: *mut ()) {
        unsafe extern "C" {
            fn run_user(context: *mut ());
        }
        // SAFETY: the caller says that the address space is entered, that interrupts are off, and that
        // `this` is in the context. The other registers are loaded before the program runs.
        unsafe {
            (*this).extended.take();
            run_user(context);
            (*this).extended.give_up();
        }
    }
}
