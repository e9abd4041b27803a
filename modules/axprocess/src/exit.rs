//! Why a program has ended.

use core::fmt;

use axhal::uspace::{Access, Exception, PageFault};
use axmm::Fault;

/// The end of a program.
#[derive(Clone, Copy, Debug)]
pub enum Exit {
    /// The program has ended itself with this status.
    Code(i32),
    /// The kernel has ended the program.
    Killed(Kill),
}

/// What a program is ended for.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// An access that its address space does not allow, or for which there is no memory.
    Fault(PageFault, Fault),
    /// Any other exception, and the address of the instruction.
    Exception(Exception, usize),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Killed(kill) => write!(f, "killed: {kill}"),
        }
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Fault(PageFault { addr, access }, fault) => {
                let what = match *access {
                    Access::EXECUTE => "fetch at",
                    Access::WRITE => "write to",
                    _ => "read of",
                };
                write!(f, "{what} {:#x}: {fault}", addr.as_usize())
            }
            Self::Exception(exception, pc) => write!(f, "{exception} at {pc:#x}"),
        }
    }
}
