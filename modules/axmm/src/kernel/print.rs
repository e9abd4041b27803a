//! Prints the kernel's address space on the console.

use arrayvec::ArrayString;
use axlog::ax_println;

use crate::kernel::kernel_aspace;
use crate::report::listing::{Form, Lines};

/// The most bytes of a line: five numbers, a name, and what separates them.
const LONGEST: usize = 384;

/// Prints what the kernel's address space holds: a table for people, then data for `make maps`.
/// It may change meanwhile. Each line is correct when it is made.
pub fn print_maps() {
    for form in [Form::Table, Form::Data] {
        let mut lines = Lines::new(form);
        loop {
            let mut line = ArrayString::<LONGEST>::new();
            // The line is printed after the locks of the address space are free.
            let more = lines.write_next(kernel_aspace(), &mut line);
            if more != Ok(true) {
                break;
            }
            ax_println!("{line}");
        }
    }
}
