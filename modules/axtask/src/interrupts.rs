//! Whether interrupts switch threads, and the lock that keeps interrupts off.

/// Whether an interrupt can switch from a running thread to another one. In a process
/// (`ARCH=host`) threads switch only when they wait or yield.
pub const PREEMPTIVE: bool = cfg!(target_os = "none");

/// A spin lock that keeps interrupts off while it is held.
pub(crate) type Lock<T> = kspin::BaseSpinLock<axhal::arch::IrqsOff, T>;
