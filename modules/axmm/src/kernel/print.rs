//! The kernel's address space on the console.

use arrayvec::ArrayString;
use axlog::ax_println;

use crate::kernel::kernel_aspace;
use crate::report::listing::{Form, Lines};

/// Bytes of the longest line: five numbers, a name, and what is between.
const LONGEST: usize = 384;

/// Prints what the kernel's address space holds, for people and then for `make
/// maps`. It may change meanwhile: each line is right when it is made.
pub fn print_maps() {
    for form in [Form::Table, Form::Data] {
        let mut lines = Lines::new(form);
        loop {
            let mut line = ArrayString::<LONGEST>::new();
            // Nobody prints while others wait for the areas.
            let more = lines.write_next(kernel_aspace(), &mut line);
            if more != Ok(true) {
                break;
            }
            ax_println!("{line}");
        }
    }
}
