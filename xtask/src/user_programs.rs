//! Builds the user programs of an application, and packs them into an archive that the image holds.
//!
//! The programs are the files `user/src/bin/*.rs` in the application's folder. The archive has the
//! format that Linux uses for its initial file system (cpio, "newc"). It also holds
//! `user/expected.txt`, which says how each program ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::failure::Failure;
use crate::files;
use crate::machine::Machine;
use crate::manifest::{App, root, spec};
use crate::toolchain::Toolchain;

/// The environment variable that names the archive for the application's `include_bytes!`.
pub const ARCHIVE_VARIABLE: &str = "AX_ARCHIVE";

/// The package of the repository's user programs, which `check` checks.
const PACKAGE: &str = "tutorial-user";

/// The file that says how each program ends.
const EXPECTED: &str = "expected.txt";

/// The name of the entry behind the last file.
const TRAILER: &str = "TRAILER!!!";

/// The type and the rights of an executable file (`st_mode`).
const EXECUTABLE: u32 = 0o100_755;

/// Builds an application's user programs. Returns the path of their archive, or `None` if the
/// application has none.
///
/// # Errors
///
/// Fails if a program cannot be built. The message holds cargo's output.
pub fn build(
    app: &App,
    machine: &Machine,
    toolchain: Toolchain,
) -> Result<Option<PathBuf>, Failure> {
    let folder = app.dir.join("user");
    if !folder.is_dir() {
        return Ok(None);
    }
    if machine.is_process() {
        return Ok(Some(empty_archive(machine)?));
    }
    let mut cargo = cargo(toolchain, "build", machine);
    cargo.args(["--release", "--bins", "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml"));
    command::run_cargo_quietly(&mut cargo)?;
    let built = target_folder().join(machine.target).join("release");
    let mut entries = Vec::new();
    for name in programs(&folder)? {
        let file = files::read(&built.join(&name))?;
        entries.push((name, file));
    }
    entries.push((EXPECTED.to_owned(), files::read(&folder.join(EXPECTED))?));
    Ok(Some(write(machine, &archive(&entries))?))
}

/// Writes an archive without files, for a check that runs nothing. Returns its path.
pub fn empty_archive(machine: &Machine) -> Result<PathBuf> {
    write(format!("{machine}-empty"), &archive(&[]))
}

/// Returns the commands that check the programs: clippy, and the documentation of their library.
pub fn checks(toolchain: Toolchain, machine: &Machine, rustdoc_flags: &str) -> [Command; 2] {
    let [mut clippy, mut doc] = ["clippy", "doc"].map(|verb| {
        let mut cargo = cargo(toolchain, verb, machine);
        cargo.args(["-q", "--package", &spec(PACKAGE), "--manifest-path"]);
        cargo.arg(root().join("Cargo.toml"));
        cargo
    });
    clippy.args(["--lib", "--bins", "--", "-D", "warnings"]);
    doc.args(["--lib", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", rustdoc_flags);
    [clippy, doc]
}

fn cargo(toolchain: Toolchain, verb: &str, machine: &Machine) -> Command {
    let flags = [
        // Programs lie at low addresses, which each target's own code model reaches.
        "-Crelocation-model=static".to_owned(),
        format!("--remap-path-prefix={}=.", root().display()),
    ];
    let mut cargo = toolchain.target_cargo(verb, machine, &flags);
    cargo
        .arg("--config")
        .arg(root().join("scripts/user.toml"))
        .arg("--target-dir")
        .arg(target_folder());
    cargo
}

fn target_folder() -> PathBuf {
    root().join("target/user")
}

/// Returns the names of the programs in a folder, sorted.
fn programs(folder: &Path) -> Result<Vec<String>> {
    let sources = folder.join("src/bin");
    let entries =
        fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Writes an archive, unless its file has these contents already: cargo would build the image
/// again. Returns its path.
fn write(stem: impl std::fmt::Display, contents: &[u8]) -> Result<PathBuf> {
    let path = target_folder().join(format!("{stem}.cpio"));
    if !fs::read(&path).is_ok_and(|old| old == contents) {
        files::write(&path, contents)?;
    }
    Ok(path)
}

/// Returns the archive of files, each with its name.
fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, (name, file)) in (1..).zip(entries) {
        add_entry(&mut archive, number, EXECUTABLE, name, file);
    }
    add_entry(&mut archive, 0, 0, TRAILER, &[]);
    archive
}

/// Adds a header, a name and a file. The name and the file each end at a multiple of four bytes.
fn add_entry(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, file: &[u8]) {
    archive.extend(b"070701");
    let (name_len, file_len) = (name.len() as u32 + 1, file.len() as u32);
    // Inode, mode, user, group, links, time, size, device, device of a special file, length of
    // the name, and a sum that this format does not have.
    let fields = [inode, mode, 0, 0, 1, 0, file_len, 0, 0, 0, 0, name_len, 0];
    for field in fields {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(name.bytes().chain([0]));
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(file);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the files of an archive, by the offsets that the format's description gives.
    fn unpack(mut archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut offset = 0;
        let mut take = |len: usize| {
            let (taken, rest) = archive.split_at(len);
            archive = rest;
            offset += len;
            (taken.to_vec(), offset)
        };
        loop {
            let (header, _) = take(110);
            assert!(header.starts_with(b"070701"));
            let field = |number: usize| {
                let digits = &header[6 + 8 * number..][..8];
                usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (name, end) = take(field(11));
            take(end.next_multiple_of(4) - end);
            let (file, end) = take(field(6));
            take(end.next_multiple_of(4) - end);
            let name = String::from_utf8(name).unwrap();
            let name = name.strip_suffix('\0').unwrap().to_owned();
            if name == TRAILER {
                return files;
            }
            files.push((name, file));
        }
    }

    #[test]
    fn an_archive_holds_each_file_under_its_name() {
        for entries in [
            vec![],
            vec![("a".to_owned(), b"contents".to_vec())],
            vec![
                ("name".to_owned(), vec![1]),
                ("names".to_owned(), vec![]),
                ("namess".to_owned(), vec![2; 5]),
                ("expected.txt".to_owned(), vec![3; 1001]),
            ],
        ] {
            assert_eq!(unpack(&archive(&entries)), entries);
        }
    }

    #[test]
    fn each_program_says_how_it_is_expected_to_end() {
        let folder = root().join("apps/tutorial/user");
        let heads = programs(&folder).unwrap().into_iter().map(|name| {
            let source = folder.join("src/bin").join(format!("{name}.rs"));
            let text = fs::read_to_string(source).unwrap();
            let end = text
                .lines()
                .find_map(|line| line.strip_prefix("//! expected: "));
            format!("{name} {}", end.unwrap_or("nothing"))
        });
        let expected = fs::read_to_string(folder.join(EXPECTED)).unwrap();
        let lines = expected
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(lines.collect::<Vec<_>>(), heads.collect::<Vec<_>>());
    }
}
