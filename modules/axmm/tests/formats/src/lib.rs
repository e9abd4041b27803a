//! The page-table entries of machines that this one is not, from the sources of
//! `page_table_entry`, which compiles each only for the machine that has it. They
//! are arithmetic, and give the same bits anywhere.

pub use page_table_entry::{GenericPTE, MappingFlags, x86_64};

include!(concat!(env!("OUT_DIR"), "/formats.rs"));
