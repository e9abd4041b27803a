//! Runs tests for every page-table format.
#![allow(unused_imports, reason = "each test file uses some of the items")]

pub use axmm_machines::*;

/// Makes a test of `$name::<M>()` for each page-table format.
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
