//! A PC with ACPI, as qemu-system-x86_64 -M q35.
#![no_std]
#![cfg(all(target_arch = "x86_64", target_os = "none"))]
