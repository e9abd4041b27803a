//! Tests of `scripts/setup.sh` and `scripts/xtask.sh` on simulated computers: each is a folder
//! with a few programs that behave as the test needs.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The programs that the scripts expect on every computer.
const TOOLS: [&str; 15] = [
    "sh", "cat", "dirname", "env", "grep", "head", "id", "mkdir", "printf", "rm", "sed", "sort",
    "tail", "tr", "true",
];

/// A program that works, and prints a version that is new enough.
const GOOD: &str = "case $1 in --version) echo x 9.99.0;; esac";
/// rustup's proxy for a program of a toolchain that is not installed.
const NOT_INSTALLED: &str = "echo \"error: toolchain '1.50.0' is not installed\" >&2; exit 1";

/// A simulated computer, with a copy of the scripts.
struct Computer {
    dir: PathBuf,
}

impl Computer {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        let computer = Self { dir };
        for folder in ["scripts", "bin", "usr/bin"] {
            fs::create_dir_all(computer.dir.join(folder)).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::copy(root.join("Cargo.toml"), computer.dir.join("Cargo.toml")).unwrap();
        for script in ["setup.sh", "xtask.sh"] {
            let text = fs::read_to_string(root.join("scripts").join(script)).unwrap();
            let usr = computer.dir.join("usr/bin/").display().to_string();
            computer.write("scripts", script, &text.replace("/usr/bin/", &usr));
        }
        for tool in TOOLS {
            let path = env::var_os("PATH").unwrap();
            let found = env::split_paths(&path).map(|dir| dir.join(tool));
            let found = found.into_iter().find(|file| file.is_file()).unwrap();
            symlink(found, computer.dir.join("bin").join(tool)).unwrap();
        }
        computer.with("bin", "cc", GOOD)
    }

    /// Returns the computer with one more program in `folder`, a shell script.
    fn with(self, folder: &str, name: &str, script: &str) -> Self {
        self.write(folder, name, &format!("#!/bin/sh\n{script}\n"));
        self
    }

    fn write(&self, folder: &str, name: &str, text: &str) {
        let path = self.dir.join(folder).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs one of the scripts on the computer.
    fn run(&self, script: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(self.dir.join("scripts").join(script));
        command
            .args(words)
            .env_clear()
            .env("PATH", self.dir.join("bin"))
            .env("HOME", &self.dir)
            .envs(variables.iter().copied());
        command.output().unwrap()
    }
}

fn words(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }
}

#[test]
fn setup_prints_no_message_if_no_item_is_missing() {
    let computer = Computer::new("complete")
        .with("bin", "cargo", GOOD)
        .with("bin", "rustc", GOOD);
    let output = computer.run("setup.sh", &["cargo"], &[]);
    assert_eq!(words(&output), (Some(0), "cargo\n".into(), String::new()));
}

#[test]
fn errors_of_a_failing_cargo_and_of_apt_get_are_shown() {
    let computer = Computer::new("offline")
        .with("bin", "cargo", NOT_INSTALLED)
        .with("bin", "rustc", NOT_INSTALLED)
        .with("bin", "apt-cache", "echo '  Candidate: 1.96.0'")
        .with("bin", "sudo", "exec \"$@\"")
        .with("bin", "apt-get", "echo 'E: no network' >&2; exit 100");
    let (status, stdout, stderr) = words(&computer.run("setup.sh", &["cargo"], &[]));
    assert_eq!((status, stdout.as_str()), (Some(3), ""), "{stderr}");
    says(
        &stderr,
        &[
            "| cargo: error: toolchain '1.50.0' is not installed",
            "E: no network",
            "apt-get install --no-install-recommends cargo",
        ],
    );
}

#[test]
fn the_error_of_a_failing_rustc_is_shown() {
    let computer =
        Computer::new("no-rustc")
            .with("bin", "cargo", GOOD)
            .with("bin", "rustc", NOT_INSTALLED);
    let (status, _, stderr) = words(&computer.run("setup.sh", &["cargo"], &[]));
    assert_eq!(status, Some(3));
    says(
        &stderr,
        &[
            "rustc: error: toolchain '1.50.0' is not installed",
            "rustup toolchain install stable",
        ],
    );
}

#[test]
fn errors_of_installed_programs_that_fail_are_shown() {
    let fails = "echo 'error while loading shared libraries' >&2; exit 127";
    let computer = Computer::new("broken")
        .with("bin", "cargo", GOOD)
        .with("bin", "rustc", GOOD)
        .with("bin", "qemu-system-x86_64", fails)
        .with("bin", "cargo-clippy", fails)
        .with("bin", "rustfmt", fails);
    for (item, program) in [
        ("qemu:x86_64", "qemu-system-x86_64"),
        ("clippy", "cargo-clippy"),
        ("rustfmt", "rustfmt"),
    ] {
        let (status, _, stderr) = words(&computer.run("setup.sh", &[item], &[]));
        assert_eq!(status, Some(3), "{item}");
        let quoted = format!("| {program}: error while loading shared libraries");
        says(&stderr, &[&quoted]);
    }
}

#[test]
fn a_program_that_still_fails_after_apt_get_is_reported() {
    let computer = Computer::new("in-vain")
        .with("bin", "cargo", NOT_INSTALLED)
        .with("bin", "apt-cache", "echo '  Candidate: 1.96.0'")
        .with("bin", "sudo", "exec \"$@\"")
        .with("bin", "apt-get", "exit 0");
    let (status, _, stderr) = words(&computer.run("setup.sh", &["cargo"], &[]));
    assert_eq!(status, Some(3));
    let (_, end) = stderr.split_once("cargo is still missing").unwrap();
    says(
        end,
        &["| cargo: error: toolchain '1.50.0' is not installed"],
    );
}

/// A program that prints its arguments and two variables of its environment.
const PRINT_CALL: &str = "case $1 in
    --version) echo x 9.99.0;;
    *) echo \"$* RUSTC=$RUSTC RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN\";;
esac";

#[test]
fn debian_s_cargo_is_used_with_debian_s_rustc() {
    let computer = Computer::new("debian")
        .with("bin", "cargo", NOT_INSTALLED)
        .with("bin", "rustc", NOT_INSTALLED)
        .with("usr/bin", "cargo", PRINT_CALL)
        .with("usr/bin", "rustc", GOOD);
    let rustup = [("RUSTUP_TOOLCHAIN", "1.50.0")];
    let (status, stdout, stderr) = words(&computer.run("xtask.sh", &["run"], &rustup));
    assert_eq!(status, Some(0), "{stderr}");
    says(
        &stderr,
        &["toolchain '1.50.0' is not installed", "Debian's"],
    );
    let rustc = computer.dir.join("usr/bin/rustc").display().to_string();
    let environment = format!("RUSTC={rustc} RUSTUP_TOOLCHAIN=\n");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("build "), "{stdout}");
    assert!(lines[1].starts_with("run -q "), "{stdout}");
    let caller = format!("-- --child-of={} run ", std::process::id());
    says(lines[1], &[&caller, environment.trim_end()]);
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let build = "case $1 in
        --version) echo x 9.99.0;;
        *) echo 'error: failed to open the cache' >&2; exit 101;;
    esac";
    let computer = Computer::new("no-home")
        .with("bin", "cargo", build)
        .with("bin", "rustc", GOOD);
    let file = computer.dir.join("Cargo.toml").display().to_string();
    let (status, _, stderr) = words(&computer.run("xtask.sh", &["run"], &[("HOME", &file)]));
    assert_eq!(status, Some(3));
    let named = format!("{file}/.cargo (cargo's downloads) cannot be written: ");
    says(
        &stderr,
        &[
            "error: failed to open the cache",
            &named,
            "set CARGO_HOME or HOME",
        ],
    );
    for fine in ["TMPDIR", "CARGO_TARGET_DIR"] {
        assert!(!stderr.contains(fine), "{stderr}");
    }
    let nowhere = computer.dir.join("nowhere").display().to_string();
    let (status, _, stderr) = words(&computer.run("xtask.sh", &["run"], &[("TMPDIR", &nowhere)]));
    assert_eq!(status, Some(3));
    says(
        &stderr,
        &["(temporary files) cannot be written", "set TMPDIR"],
    );
}

/// The repository's own toolchain file keeps rustup from using one in a folder above.
#[test]
fn a_toolchain_file_above_the_repository_is_ignored() {
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).join("above");
    let inside = above.join("tessera");
    fs::create_dir_all(&inside).unwrap();
    let foreign = "[toolchain]\nchannel = \"1.2.3\"\n";
    fs::write(above.join("rust-toolchain.toml"), foreign).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rust-toolchain.toml");
    fs::copy(ours, inside.join("rust-toolchain.toml")).unwrap();
    let active = |dir: &Path| {
        let mut rustup = Command::new("rustup");
        rustup
            .args(["show", "active-toolchain"])
            .current_dir(dir)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("RUSTUP_AUTO_INSTALL", "0");
        let output = rustup.output().ok()?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(words.split_whitespace().next()?.to_owned())
    };
    // Without rustup, or without a default toolchain, there is nothing to compare.
    if let Some(default) = active(Path::new("/")) {
        assert_ne!(active(&above), Some(default.clone()));
        assert_eq!(active(&inside), Some(default));
    }
}
