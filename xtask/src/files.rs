//! Reads and writes files and folders. Each error names the path.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Makes a folder and its parents.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a file, and makes its folder first.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Removes a file if it exists.
pub fn remove(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_names_the_path() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let below = file.join("x/y");
        for (result, what) in [
            (read(&below).map(drop), "cannot read "),
            (write(&below, ""), "cannot make "),
            (make_folder(&file), "cannot make "),
            (write(Path::new("/proc/self/x"), ""), "cannot write "),
        ] {
            let message = format!("{:#}", result.unwrap_err());
            assert!(message.starts_with(what), "{message}");
            assert!(message.contains("/"), "{message}");
        }
        assert!(remove(&below).is_ok());
    }
}
