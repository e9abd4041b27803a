//! `print!` and `println!`. A line is written by one system call, so lines of several programs do
//! not mix.

use core::fmt::{self, Write};

use crate::syscall::write;

/// The file descriptor of the console.
pub const STDOUT: usize = 1;

/// The longest text in bytes that one system call writes.
const LINE: usize = 200;

/// Text that is not written yet.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    fn flush(&mut self) -> fmt::Result {
        let mut rest = &self.bytes[..self.len];
        self.len = 0;
        while !rest.is_empty() {
            let written = usize::try_from(write(STDOUT, rest)).map_err(|_| fmt::Error)?;
            rest = rest.get(written..).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len == LINE {
                self.flush()?;
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Prints text. An error of the console is ignored: there is no other place to report it.
pub fn print(text: fmt::Arguments) {
    let mut line = Line {
        bytes: [0; LINE],
        len: 0,
    };
    let _ = line.write_fmt(text).and_then(|()| line.flush());
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!($($argument)*))
    };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
