//! The page-table entries of other architectures. The crate `page_table_entry` compiles each
//! format only on the architecture that has it. The code only computes bits, so it gives the
//! same results on every host. Here it is compiled from the sources of that crate.

pub use page_table_entry::{GenericPTE, MappingFlags, x86_64};

include!(concat!(env!("OUT_DIR"), "/formats.rs"));
