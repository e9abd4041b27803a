//! How each program is expected to end.

use axtutor::Exit;

/// The file of the archive that says how programs end: a line for each, with its name and `exit` and
/// the status, or `killed`.
const FILE: &str = "expected.txt";

/// The lines of that file.
pub struct Expectations(&'static str);

impl Expectations {
    /// Finds the file in `archive`. Without it nothing is expected.
    pub fn read(archive: &'static [u8]) -> Self {
        let file = axtutor::file_in(archive, FILE);
        Self(
            file.and_then(|file| core::str::from_utf8(file).ok())
                .unwrap_or(""),
        )
    }

    /// Returns whether `exit` is how the program `name` is expected to end.
    pub fn allow(&self, name: &str, exit: Exit) -> bool {
        self.0.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name)
                && match (words.next(), words.next(), exit) {
                    (Some("exit"), Some(code), Exit::Code(status)) => code.parse() == Ok(status),
                    (Some("killed"), None, Exit::Killed(_)) => true,
                    _ => false,
                }
        })
    }
}
