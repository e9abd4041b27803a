//! `check`: checks lock files, formatting, lints, documentation and licences. A warning is a
//! failure.
//! And `doc`, which builds the documentation.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::manifest::{
    CHECKED_FEATURES, HOST_FEATURES, HOST_PACKAGES, OBJECT_FEATURES, OBJECT_PACKAGES,
    PROCESS_PACKAGES, crates_in, root, spec,
};
use crate::options::Options;
use crate::toolchain::{self, Toolchain};
use crate::user_programs;

/// The documentation holds private items too, so links to them are allowed.
const RUSTDOC_FLAGS: &str = "-D warnings -A rustdoc::private-intra-doc-links";

/// A step of the check: its name, and its commands.
type Step = (String, Vec<Command>);

/// `check`: runs every step, also after one has failed, and prints a summary.
///
/// # Errors
///
/// Fails with status 1 if a step has failed.
pub fn check(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    let mut items = vec!["rustfmt".to_owned(), "clippy".to_owned()];
    items.extend(
        machines
            .iter()
            .map(|machine| toolchain::setup_item(machine)),
    );
    items.extend(
        machines
            .iter()
            .map(|machine| format!("clippy:{}", machine.target)),
    );
    let providers = toolchain::set_up(&items)?;

    let is_debian = |item: usize| providers.get(item).is_some_and(|word| word == "debian");
    let (debian_rustfmt, debian_clippy) = (is_debian(0), is_debian(1));
    let mut steps = host_steps(debian_rustfmt, debian_clippy);
    for machine in machines {
        steps.extend(kernel_steps(machine)?);
    }
    // The lock files come first, because a step that builds would update the repository's.
    let files = [("lock files", lock_files()), ("licences", licences())];
    let files = files.into_iter().map(|(name, result)| {
        let Err(reason) = result else { return true };
        say!("check: {name}: FAILED: {reason}");
        false
    });
    let steps = steps
        .into_iter()
        .map(|step| run_step(step, options.verbose));
    let (mut passed, mut failed) = (0, 0);
    for good in files.chain(steps) {
        match good {
            true => passed += 1,
            false => failed += 1,
        }
    }
    say!("check: {passed} passed, {failed} failed");
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::reported(1))
    }
}

/// Runs all commands of a step. Returns whether all have succeeded.
fn run_step((name, commands): Step, verbose: bool) -> bool {
    say!("check: {name}");
    let mut good = true;
    for mut command in commands {
        command::show(&command, verbose);
        if let Err(failure) = command::run(&mut command) {
            good = false;
            if !failure.is_reported() {
                say_error!("{failure}");
            }
        }
    }
    if !good {
        say!("check: {name}: FAILED");
    }
    good
}

/// The steps that do not depend on a machine. They use Debian's rustfmt and clippy, or those
/// on PATH.
fn host_steps(debian_rustfmt: bool, debian_clippy: bool) -> Vec<Step> {
    let mut fmt = command::cargo();
    if debian_rustfmt {
        // `cargo fmt` would run rustup's cargo-fmt, which is first on PATH.
        fmt = command::new("/usr/bin/cargo-fmt");
        fmt.env("RUSTFMT", "/usr/bin/rustfmt");
    }
    fmt.args(["fmt", "--all", "--check"]).current_dir(root());
    let mut doc = command::cargo();
    doc.args(["doc", "-q", "--no-deps", "--document-private-items"])
        .args(["--features", CHECKED_FEATURES])
        .args(packages(HOST_PACKAGES))
        .env("RUSTDOCFLAGS", RUSTDOC_FLAGS)
        .current_dir(root());
    vec![
        ("formatting".to_owned(), vec![fmt]),
        ("clippy for the host".to_owned(), host_lints(debian_clippy)),
        ("rustdoc for the host".to_owned(), vec![doc]),
    ]
}

/// clippy on [`HOST_PACKAGES`], on their tests, on those of [`OBJECT_PACKAGES`], and on [`PROCESS_PACKAGES`] with their tests.
/// Only tests may panic.
fn host_lints(debian: bool) -> Vec<Command> {
    let mut programs = host_clippy(debian);
    programs.args(["--features", HOST_FEATURES]);
    programs.args(packages(HOST_PACKAGES));
    programs.args(["--", "-D", "warnings"]);
    let mut tests = host_clippy(debian);
    tests.args(["--features", HOST_FEATURES]);
    tests.args(packages(HOST_PACKAGES));
    let mut objects = host_clippy(debian);
    objects.args(["--features", OBJECT_FEATURES]);
    objects.args(packages(OBJECT_PACKAGES));
    // The code of these packages may not panic either: the steps of the machine `host` check
    // that.
    let mut process_tests = host_clippy(debian);
    process_tests
        .arg("--all-features")
        .args(packages(PROCESS_PACKAGES));
    for clippy in [&mut tests, &mut objects, &mut process_tests] {
        clippy.args(["--all-targets", "--", "-D", "warnings"]);
        for lint in ["unwrap_used", "expect_used", "panic"] {
            clippy.arg(format!("-Aclippy::{lint}"));
        }
    }
    vec![programs, tests, objects, process_tests]
}

fn host_clippy(debian: bool) -> Command {
    let mut clippy = command::cargo();
    if debian {
        clippy = command::new("/usr/bin/cargo-clippy");
        clippy
            .env("CARGO", command::DEBIAN_CARGO)
            .env("RUSTC", "/usr/bin/rustc")
            .env_remove("RUSTUP_TOOLCHAIN");
    }
    clippy.args(["clippy", "-q"]).current_dir(root());
    clippy
}

/// The steps for one machine. clippy runs without features, with threads on one hart, with
/// several harts but no threads, and with all features: dead code shows only where the
/// feature that uses it is off.
fn kernel_steps(machine: &'static Machine) -> Result<Vec<Step>, Failure> {
    let toolchain = Toolchain::set_up_for(machine)?;
    let mut bare = clippy(toolchain, machine);
    bare.args(["--package", "helloworld", "--", "-D", "warnings"]);
    let some = ["multitask", "smp"].map(|feature| {
        let mut some = clippy(toolchain, machine);
        some.args(["--package", "axstd", "--features", feature]);
        some.args(["--", "-D", "warnings"]);
        some
    });
    let mut full = clippy(toolchain, machine);
    let apps = crates_in("apps").into_iter();
    full.args(packages(apps.filter(|app| machine.supports_app(app))))
        .args(["--all-features", "--", "-D", "warnings"])
        .env(
            user_programs::ARCHIVE_VARIABLE,
            user_programs::empty_archive(machine)?,
        );
    let mut doc = documentation(toolchain, machine);
    doc.arg("-q");
    let mut lints: Vec<Command> = [bare].into_iter().chain(some).chain([full]).collect();
    let mut docs = vec![doc];
    if !machine.is_process() {
        let [clippy, doc] = user_programs::checks(toolchain, machine, RUSTDOC_FLAGS);
        lints.push(clippy);
        docs.push(doc);
    }
    Ok(vec![
        (format!("clippy for {machine}"), lints),
        (format!("rustdoc for {machine}"), docs),
    ])
}

fn clippy(toolchain: Toolchain, machine: &Machine) -> Command {
    let mut cargo = toolchain.image_cargo("clippy", machine);
    cargo
        .arg("-q")
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"));
    cargo
}

/// Returns `cargo doc` for the kernel's crates as they are built for one machine. Private
/// items are included, since the documentation is read by those who change the code.
fn documentation(toolchain: Toolchain, machine: &Machine) -> Command {
    let platforms = ["axmachine".to_owned(), machine.platform.to_owned()];
    let names = crates_in("api")
        .into_iter()
        .chain(crates_in("modules"))
        .chain(platforms);
    let mut cargo = toolchain.image_cargo("doc", machine);
    cargo
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .args(["--no-deps", "--document-private-items", "--all-features"])
        .env("RUSTDOCFLAGS", RUSTDOC_FLAGS)
        .args(packages(names));
    cargo
}

fn packages<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Vec<String> {
    names
        .into_iter()
        .flat_map(|name| ["--package".to_owned(), spec(&name.into())])
        .collect()
}

/// Returns the folders of all crates, relative to the repository's root.
fn crates() -> Vec<String> {
    let folders = ["api", "modules", "platforms", "apps"];
    let crates = folders.iter().flat_map(|folder| {
        crates_in(folder)
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    let beside = [
        "xtask",
        "xtask/maps",
        "xtask/misuse",
        "apps/tutorial/user",
        "benches",
        "benches/aspace",
        "benches/arceos",
        "benches/arceos-memory-set",
        "fuzz",
        "modules/axmm/tests/formats",
        "modules/axmm/tests/machines",
    ];
    crates.chain(beside.map(str::to_owned)).collect()
}

/// Checks that every crate names its licence.
fn licences() -> Result<(), String> {
    for dir in crates() {
        let text = fs::read_to_string(root().join(&dir).join("Cargo.toml"))
            .map_err(|error| error.to_string())?;
        if !text.lines().any(|line| line.starts_with("license")) {
            return Err(format!("{dir}/Cargo.toml has no line `license = ...`"));
        }
    }
    Ok(())
}

/// Checks that each lock file has all dependencies: of the repository's workspace, and of the
/// crates that are workspaces of their own. cargo asks the registry's index, and downloads no
/// crate.
fn lock_files() -> Result<(), String> {
    let own = crates().into_iter().map(|dir| root().join(dir));
    let mut dirs = [root().to_owned()].into_iter().chain(own);
    dirs.try_for_each(|dir| match dir.join("Cargo.lock").is_file() {
        true => lock_file(&dir),
        false => Ok(()),
    })
}

/// Checks the lock file in a folder. If the index cannot be reached, prints that.
fn lock_file(dir: &Path) -> Result<(), String> {
    let mut cargo = command::cargo();
    cargo.args(["update", "--workspace", "--locked"]);
    let output = cargo.current_dir(dir).output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    let path = dir.join("Cargo.lock");
    match output.status.success() {
        true => Ok(()),
        false if words.contains("--locked was passed") => Err(format!(
            "{} is out of date; in its folder: cargo update --workspace",
            path.display()
        )),
        false => {
            say!("check: {} was not checked: {words}", path.display());
            Ok(())
        }
    }
}

/// `doc`: builds the documentation of the kernel's crates, and prints the path of its first
/// page.
pub fn doc(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    let mut cargo = documentation(Toolchain::set_up_for(machine)?, machine);
    command::show(&cargo, options.verbose);
    command::run(&mut cargo)?;
    let page = root()
        .join("target/kernel")
        .join(machine.target)
        .join("doc/axstd/index.html");
    say!("{}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;
    use crate::files;

    #[test]
    fn every_crate_names_its_licence() {
        assert_eq!(licences(), Ok(()));
    }

    /// cargo needs no index here, because the crate has no dependencies.
    #[test]
    fn an_outdated_lock_file_is_refused() {
        let dir = env::temp_dir().join(format!("tessera-lock-{}", std::process::id()));
        let write_manifest = |version: &str| {
            let text = format!("[workspace]\n[package]\nname = \"a\"\nversion = \"{version}\"\n");
            files::write(&dir.join("Cargo.toml"), text).unwrap();
        };
        let write_lock_file = || {
            let mut cargo = command::cargo();
            cargo.arg("generate-lockfile").current_dir(&dir);
            assert!(cargo.output().unwrap().status.success());
        };
        files::write(&dir.join("src/lib.rs"), "").unwrap();
        write_manifest("0.1.0");
        write_lock_file();
        assert_eq!(lock_file(&dir), Ok(()));
        write_manifest("0.2.0");
        assert!(lock_file(&dir).unwrap_err().contains("is out of date"));
        write_lock_file();
        assert_eq!(lock_file(&dir), Ok(()));
        fs::remove_dir_all(&dir).unwrap();
    }
}
