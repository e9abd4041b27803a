//! `check`: formatting, lints and documentation, without a warning; and `doc`.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::manifest::{HOST_FEATURES, HOST_PACKAGES, PROCESS_PACKAGES, crates_in, root, spec};
use crate::options::Options;
use crate::toolchain::{self, Toolchain};

/// A step: its name, and the commands it consists of.
type Step = (String, Vec<Command>);

/// Runs every step, also behind a failed one, and sums up.
pub fn check(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    let mut items = vec!["rustfmt".to_owned(), "clippy".to_owned()];
    items.extend(machines.iter().map(|machine| toolchain::item(machine)));
    items.extend(
        machines
            .iter()
            .map(|machine| format!("clippy:{}", machine.target)),
    );
    let answers = toolchain::set_up(&items)?;

    let mut steps = host_steps(&answers);
    for machine in machines {
        steps.extend(kernel_steps(machine)?);
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, commands) in steps {
        say!("check: {name}");
        let mut good = true;
        for mut command in commands {
            command::show(&command, options.verbose);
            if let Err(failure) = command::run(&mut command) {
                good = false;
                if !failure.is_reported() {
                    complain!("{failure}");
                }
            }
        }
        if good {
            passed += 1
        } else {
            failed += 1
        }
        if !good {
            say!("check: {name}: FAILED");
        }
    }
    match licences() {
        Ok(()) => passed += 1,
        Err(reason) => {
            failed += 1;
            say!("check: licences: FAILED: {reason}");
        }
    }
    say!("check: {passed} passed, {failed} failed");
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::reported(1))
    }
}

fn host_steps(answers: &[String]) -> Vec<Step> {
    let debian = |item: usize| answers.get(item).is_some_and(|answer| answer == "debian");
    let mut fmt = command::cargo();
    if debian(0) {
        // cargo would find rustup's cargo-fmt first.
        fmt = command::new("/usr/bin/cargo-fmt");
        fmt.env("RUSTFMT", "/usr/bin/rustfmt");
    }
    fmt.args(["fmt", "--all", "--check"]).current_dir(root());
    // A test that fails panics; nothing else may.
    let mut programs = host_clippy(debian(1));
    programs.args(["--features", HOST_FEATURES]);
    programs.args(packages(HOST_PACKAGES));
    let mut tests = host_clippy(debian(1));
    tests.args(["--features", HOST_FEATURES]);
    tests.args(packages(HOST_PACKAGES));
    // Their programs are checked as a machine's.
    let mut kernels = host_clippy(debian(1));
    kernels
        .arg("--all-features")
        .args(packages(PROCESS_PACKAGES));
    programs.args(["--", "-D", "warnings"]);
    for tests in [&mut tests, &mut kernels] {
        tests.args(["--all-targets", "--", "-D", "warnings"]);
        for lint in ["unwrap_used", "expect_used", "panic"] {
            tests.arg(format!("-Aclippy::{lint}"));
        }
    }
    let mut doc = command::cargo();
    doc.args([
        "doc",
        "-q",
        "--no-deps",
        "--document-private-items",
        "--package",
        "xtask",
    ]);
    doc.env("RUSTDOCFLAGS", "-D warnings").current_dir(root());
    vec![
        ("formatting".to_owned(), vec![fmt]),
        (
            "clippy for the host".to_owned(),
            vec![programs, tests, kernels],
        ),
        ("rustdoc for the host".to_owned(), vec![doc]),
    ]
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

fn kernel_steps(machine: &'static Machine) -> Result<Vec<Step>, Failure> {
    let toolchain = Toolchain::of(machine)?;
    // Once without a feature, and once each with threads of one hart and with harts
    // without threads: what only other features use is dead code there. Then all.
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
    full.args(packages(apps.filter(|app| machine.takes(app))))
        .args(["--all-features", "--", "-D", "warnings"]);
    let mut doc = documentation(toolchain, machine);
    doc.arg("-q");
    Ok(vec![
        (
            format!("clippy for {machine}"),
            [bare].into_iter().chain(some).chain([full]).collect(),
        ),
        (format!("rustdoc for {machine}"), vec![doc]),
    ])
}

fn clippy(toolchain: Toolchain, machine: &Machine) -> Command {
    let mut cargo = toolchain.cargo("clippy", machine);
    cargo
        .arg("-q")
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"));
    cargo
}

/// `cargo doc` of the house as it is on one machine, its private rooms included:
/// links to them are what a reader wants.
fn documentation(toolchain: Toolchain, machine: &Machine) -> Command {
    let platforms = ["axmachine".to_owned(), machine.platform.to_owned()];
    let names = crates_in("api")
        .into_iter()
        .chain(crates_in("modules"))
        .chain(platforms);
    let mut cargo = toolchain.cargo("doc", machine);
    cargo
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .args(["--no-deps", "--document-private-items", "--all-features"])
        .env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private-intra-doc-links",
        )
        .args(packages(names));
    cargo
}

fn packages<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Vec<String> {
    names
        .into_iter()
        .flat_map(|name| ["--package".to_owned(), spec(&name.into())])
        .collect()
}

/// Every crate says under which licence it is.
fn licences() -> Result<(), String> {
    let folders = ["api", "modules", "platforms", "apps"];
    let crates = folders.iter().flat_map(|folder| {
        crates_in(folder)
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    let beside = [
        "xtask",
        "xtask/maps",
        "benches",
        "benches/aspace",
        "benches/arceos",
    ];
    for dir in crates.chain(beside.map(str::to_owned)) {
        let text = fs::read_to_string(root().join(&dir).join("Cargo.toml"))
            .map_err(|error| error.to_string())?;
        if !text.lines().any(|line| line.starts_with("license")) {
            return Err(format!("{dir}/Cargo.toml names none"));
        }
    }
    Ok(())
}

/// `doc`: builds the pages of the house and says where they are.
pub fn doc(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    let mut cargo = documentation(Toolchain::of(machine)?, machine);
    command::show(&cargo, options.verbose);
    command::run(&mut cargo)?;
    let page = root()
        .join("target/kernel")
        .join(machine.target)
        .join("doc/axstd/index.html");
    say!("{}", page.display());
    Ok(())
}
