//! How this tool ends when it does not succeed: a message and an exit status.

use std::fmt;

/// A wrong value, a failed step, or the guest's own verdict.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    message: Option<String>,
}

/// The exit status of a wrong value.
pub const USAGE: u8 = 2;
/// The exit status when set-up could not install something.
pub const SET_UP: u8 = 3;

impl Failure {
    /// A wrong value: one line, said before anything is built.
    pub fn usage(message: String) -> Self {
        Failure {
            status: USAGE,
            message: Some(message),
        }
    }

    /// An end with a status of its own.
    pub fn with_status(status: u8, message: String) -> Self {
        Failure {
            status,
            message: Some(message),
        }
    }

    /// A failure that has been reported already.
    pub fn reported(status: u8) -> Self {
        Failure {
            status,
            message: None,
        }
    }

    /// The status that the process is to end with; never 0.
    pub fn status(&self) -> u8 {
        self.status.max(1)
    }

    /// Whether there is still something to say.
    pub fn is_reported(&self) -> bool {
        self.message.is_none()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("failed"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure {
            status: 1,
            message: Some(format!("{error:#}")),
        }
    }
}
