//! The machine qemu-system-loongarch64 -M virt.
#![no_std]
#![cfg(all(target_arch = "loongarch64", target_os = "none"))]
