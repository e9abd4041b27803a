//! How xtask ends when it does not succeed: a message and an exit status.

use std::fmt;

/// Why a verb failed: a wrong value, a failed step, or a guest that ended with a status
/// other than 0.
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
    /// A wrong value of a variable. `message` is one line that names the value and the
    /// valid ones.
    pub fn usage(message: String) -> Self {
        Failure {
            status: USAGE,
            message: Some(message),
        }
    }

    /// A failure with an exit status of its own.
    pub fn with_status(status: u8, message: String) -> Self {
        Failure {
            status,
            message: Some(message),
        }
    }

    /// A failure whose message has been printed already.
    pub fn reported(status: u8) -> Self {
        Failure {
            status,
            message: None,
        }
    }

    /// The status that the process ends with: 1 or more.
    pub fn status(&self) -> u8 {
        self.status.max(1)
    }

    /// Returns whether the message has been printed already.
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
