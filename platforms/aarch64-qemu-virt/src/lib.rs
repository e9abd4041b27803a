//! The machine qemu-system-aarch64 -M virt.
#![no_std]
#![cfg(all(target_arch = "aarch64", target_os = "none"))]
