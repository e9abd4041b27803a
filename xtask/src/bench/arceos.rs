//! Measures ArceOS as published, `benches/arceos`, on a machine: the same rows, in an image
//! of its own. `benches/arceos` is a workspace of its own, so only this code makes cargo
//! download its crates. If it cannot be built or run, the reason is reported instead.

use anyhow::{Context, Result, bail};

use super::guest;
use crate::command;
use crate::figures;
use crate::files;
use crate::image::Image;
use crate::machine::Machine;
use crate::manifest::root;
use crate::options::Options;
use crate::toolchain::Toolchain;

/// The package that measures, and its folder.
const PACKAGE: &str = "arceos-mmbench";
const FOLDER: &str = "benches/arceos";

/// Returns the name of the file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    format!("arceos-{machine}.json")
}

/// Measures, prints a table and writes the file. If ArceOS cannot be measured, prints the
/// reason, removes the file and returns the reason's first line.
///
/// # Errors
///
/// Fails if a file cannot be written or removed.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<Option<String>> {
    let path = root().join("target/bench").join(file(machine));
    match build(options, machine).and_then(|image| boot(options, &image)) {
        Ok(rows) => {
            say!("ArceOS on {machine}, instructions of the guest");
            say!("{}", figures::table(&rows));
            figures::write(&file(machine), &rows)?;
            say!("all rows in {}\n", path.display());
            Ok(None)
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let line = reason.lines().next().unwrap_or_default().to_owned();
            say!("ArceOS on {machine}: not measured: {line}\n");
            files::remove(&path)?;
            Ok(Some(line))
        }
    }
}

/// Boots the image on the machine that ArceOS is configured for: one hart, 128 MiB, no boot
/// arguments.
fn boot(options: &Options, image: &Image) -> Result<Vec<figures::Row>> {
    let plain = Options {
        mem_kib: None,
        boot_args: Vec::new(),
        qemu_args: Vec::new(),
        ..options.clone()
    };
    guest::rows(&plain, image, 1, &[])
}

fn build(options: &Options, machine: &'static Machine) -> Result<Image> {
    let folder = root().join(FOLDER);
    let config = folder.join(format!("{machine}.toml"));
    let Some(platform) = platform(machine) else {
        bail!("benches/arceos has no configuration for {machine}");
    };
    let target = root().join("target/arceos");
    let built = target.join(machine.target).join("release");
    // The build script of ArceOS's axhal writes the linker script there.
    let script = built.join(format!("linker_{platform}.lds"));
    let mut flags = vec![
        format!("-Clink-arg=-T{}", script.display()),
        "-Clink-arg=-no-pie".to_owned(),
        "-Clink-arg=-znostart-stop-gc".to_owned(),
    ];
    flags.extend(machine.rustflags.iter().map(|flag| (*flag).to_owned()));
    let toolchain = Toolchain::of(machine).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let mut cargo = toolchain.foreign_cargo("build", machine, &flags);
    cargo
        .args(["-q", "--release", "--locked", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // ArceOS's crates use unstable features of the compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("AX_CONFIG_PATH", config)
        .env("AX_LOG", "off");
    command::show(&cargo, options.verbose);
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{}", error(&String::from_utf8_lossy(&output.stderr)));
    }
    Image::install(
        &built.join(PACKAGE),
        &format!("{PACKAGE}-{machine}"),
        machine,
    )
}

/// Returns ArceOS's name of the machine's platform.
fn platform(machine: &Machine) -> Option<&'static str> {
    match machine.arch {
        "riscv64" => Some("riscv64-qemu-virt"),
        "x86_64" => Some("x86-pc"),
        _ => None,
    }
}

/// Returns cargo's errors in one line: the last error names the crate, the first the cause.
fn error(words: &str) -> String {
    let errors = words.lines().filter(|line| line.starts_with("error"));
    let errors: Vec<&str> = errors.collect();
    match errors.as_slice() {
        [] => "cargo failed without an error message".to_owned(),
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{last} ({first})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_errors_become_one_line() {
        let words = "warning: x\nerror[E0407]: no such method\n  --> a.rs\nerror: could not compile `x86_64` (lib)\n";
        assert_eq!(
            error(words),
            "error: could not compile `x86_64` (lib) (error[E0407]: no such method)"
        );
        assert_eq!(error("error: no network\n"), "error: no network");
        assert_eq!(error(""), "cargo failed without an error message");
    }
}
