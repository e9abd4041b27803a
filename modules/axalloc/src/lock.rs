//! The spin lock of this crate's shared state. It disables interrupts while it is held, so
//! that an interrupt handler may allocate and free.

/// A spin lock that disables interrupts of axhal's harts.
#[cfg(feature = "hal")]
pub(crate) type Lock<T> = kspin::BaseSpinLock<axhal::arch::IrqsOff, T>;

/// A spin lock between threads. A plain process has no interrupts.
#[cfg(not(feature = "hal"))]
pub(crate) use kspin::SpinNoIrq as Lock;
