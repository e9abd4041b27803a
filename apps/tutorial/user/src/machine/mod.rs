//! The entry point and the system-call instruction of each architecture.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "loongarch64")]
mod loongarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::system_call;
#[cfg(target_arch = "loongarch64")]
pub use loongarch64::system_call;
#[cfg(target_arch = "riscv64")]
pub use riscv64::system_call;
#[cfg(target_arch = "x86_64")]
pub use x86_64::system_call;
