//! The lock around each allocator, which is the one that our allocator uses.

#[cfg(target_os = "none")]
pub type Lock<T> = kspin::BaseSpinLock<axhal::arch::IrqsOff, T>;

#[cfg(not(target_os = "none"))]
pub use kspin::SpinNoIrq as Lock;
