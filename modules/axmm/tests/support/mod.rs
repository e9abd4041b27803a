//! Machines of every page-table format, and a test on each.
#![allow(unused_imports, reason = "each test uses what it needs")]

pub use axmm_machines::*;

/// Runs the test `$name::<M>()` for each machine, as one test each.
#[macro_export]
macro_rules! on_every_machine {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[test]
            fn x86_64() { super::$name::<$crate::support::X64>() }
            #[test]
            fn sv39() { super::$name::<$crate::support::Sv39>() }
            #[test]
            fn sv48() { super::$name::<$crate::support::Sv48>() }
            #[test]
            fn aarch64() { super::$name::<$crate::support::A64>() }
            #[test]
            fn loongarch64() { super::$name::<$crate::support::La64>() }
        })*
    };
}
