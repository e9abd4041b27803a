//! The programs of an archive.

use alloc::vec::Vec;

use axerrno::{AxError, AxResult};
use axprocess::Program;

/// A program and its name.
pub struct NamedProgram {
    name: &'static str,
    program: Program,
}

/// Returns the file `name` of a cpio archive ("newc"), which was built with the image.
pub fn file_in(archive: &'static [u8], name: &str) -> Option<&'static [u8]> {
    let mut files = cpio_reader::iter_files(archive);
    files
        .find(|file| file.name() == name)
        .map(|file| file.file())
}

/// All programs of an archive.
pub struct Programs {
    all: Vec<NamedProgram>,
}

impl NamedProgram {
    /// Returns the name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }
}

impl Programs {
    /// Reads all programs of a cpio archive ("newc"), which was built with the image. Files whose names
    /// have a dot are none.
    ///
    /// # Errors
    ///
    /// `InvalidExecutable` if a file is no program for this machine. `NoMemory`.
    pub fn read(archive: &'static [u8]) -> AxResult<Self> {
        let mut all = Vec::new();
        for entry in cpio_reader::iter_files(archive) {
            let (name, file) = (entry.name(), entry.file());
            if name.contains('.') || file.is_empty() {
                continue;
            }
            let program = Program::load(file)?;
            all.try_reserve(1).map_err(|_| AxError::NoMemory)?;
            all.push(NamedProgram { name, program });
        }
        Ok(Self { all })
    }

    /// Returns the programs in the order of the archive.
    pub fn iter(&self) -> impl Iterator<Item = &NamedProgram> {
        self.all.iter()
    }

    /// Returns the program with this name.
    pub fn find(&self, name: &[u8]) -> Option<&NamedProgram> {
        self.all
            .iter()
            .find(|program| program.name.as_bytes() == name)
    }
}
