//! Measures ArceOS on a machine: the same rows, in images of their own. There are two, ArceOS
//! as published (`benches/arceos`), and with the `memory_set` of this repository in the place
//! of the published crate (`benches/arceos-memory-set`). Both are workspaces of their own, so
//! only this code makes cargo download their crates. If one cannot be built or run, the reason
//! is reported instead.

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

/// The folder of the machines' configurations.
const CONFIGURATIONS: &str = "benches/arceos";

/// An ArceOS that is measured.
struct Variant {
    /// The title of its table.
    title: &'static str,
    /// The package that measures.
    package: &'static str,
    /// The folder of the package.
    folder: &'static str,
    /// What the names of the files of its rows begin with.
    file: &'static str,
}

/// ArceOS as published.
const PUBLISHED: Variant = Variant {
    title: "ArceOS",
    package: "arceos-mmbench",
    folder: "benches/arceos",
    file: "arceos",
};

/// ArceOS with our `memory_set`.
const PATCHED: Variant = Variant {
    title: "ArceOS with our memory_set",
    package: "arceos-memory-set",
    folder: "benches/arceos-memory-set",
    file: "arceos-memory-set",
};

/// Returns the name of the file of a machine's rows.
pub fn file(machine: &Machine) -> String {
    PUBLISHED.file(machine)
}

/// Measures ArceOS as published, and if that succeeds also the variant with our `memory_set`.
/// Prints tables and writes the files. If a variant cannot be measured, prints the reason and
/// removes its file. Returns the first line of the reason why ArceOS as published cannot be
/// measured.
///
/// # Errors
///
/// Fails if a file cannot be written or removed.
pub fn measure(options: &Options, machine: &'static Machine) -> Result<Option<String>> {
    let absent = measure_variant(options, machine, &PUBLISHED)?;
    if absent.is_none() {
        measure_variant(options, machine, &PATCHED)?;
    }
    Ok(absent)
}

fn measure_variant(
    options: &Options,
    machine: &'static Machine,
    variant: &Variant,
) -> Result<Option<String>> {
    let (title, file) = (variant.title, variant.file(machine));
    let path = root().join("target/bench").join(&file);
    match build(options, machine, variant).and_then(|image| boot(options, &image)) {
        Ok(rows) => {
            say!("{title} on {machine}, instructions of the guest");
            say!("{}", figures::table(&rows));
            figures::write(&file, &rows)?;
            say!("all rows in {}\n", path.display());
            Ok(None)
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let line = reason.lines().next().unwrap_or_default().to_owned();
            say!("{title} on {machine}: not measured: {line}\n");
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

impl Variant {
    fn file(&self, machine: &Machine) -> String {
        format!("{}-{machine}.json", self.file)
    }
}

fn build(options: &Options, machine: &'static Machine, variant: &Variant) -> Result<Image> {
    let folder = root().join(variant.folder);
    let config = root().join(CONFIGURATIONS).join(format!("{machine}.toml"));
    let Some(platform) = platform(machine) else {
        bail!("{CONFIGURATIONS} has no configuration for {machine}");
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
    let toolchain =
        Toolchain::set_up_for(machine).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let mut cargo = toolchain.target_cargo("build", machine, &flags);
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
        &built.join(variant.package),
        &format!("{}-{machine}", variant.package),
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
