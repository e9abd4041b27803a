//! Prints address spaces on the console.

use arrayvec::ArrayString;
use axlog::ax_println;

use crate::aspace::AddrSpace;
use crate::kernel::kernel_aspace;
use crate::report::listing::{Form, Lines};

/// The most bytes of a line: two addresses, five numbers, a name, and what separates them.
const LONGEST: usize = 512;

/// Prints what the kernel's address space holds: a table for people, then data for `make maps`.
/// It may change meanwhile. Each line is correct when it is made.
pub fn print_maps() {
    print_maps_of(kernel_aspace(), "");
}

/// Prints what any address space holds, in the form of [`print_maps`]. `name` says which one it is.
/// If it is empty, readers take the address space for the kernel's.
pub fn print_maps_of(aspace: &AddrSpace, name: &'static str) {
    for form in [Form::Table, Form::Data] {
        let mut lines = Lines::new(form).with_name(name);
        loop {
            let mut line = ArrayString::<LONGEST>::new();
            // The line is printed after the locks of the address space are free.
            let more = lines.write_next(aspace, &mut line);
            if more != Ok(true) {
                break;
            }
            ax_println!("{line}");
        }
    }
}
