//! The floating-point state of an architecture whose switches save no floating-point register.

/// The floating-point registers of a thread, of which a switch has to keep no register.
#[derive(Debug)]
pub struct NoFloat;

impl NoFloat {
    /// The registers of a thread that has not used any.
    pub const UNUSED: Self = Self;

    /// Does nothing: there are no registers to save.
    ///
    /// # Safety
    ///
    /// No requirement. It is unsafe because it is so on riscv64.
    pub unsafe fn save(&mut self) {}

    /// Does nothing: there are no registers to restore.
    ///
    /// # Safety
    ///
    /// No requirement. It is unsafe because it is so on riscv64.
    pub unsafe fn restore(&self) {}
}
