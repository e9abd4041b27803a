//! The compiler that images are built with: the toolchain on PATH if it has the target's
//! library, else Debian's, which builds the library from source.
//! `scripts/setup.sh` chooses between them, and installs what is missing.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::command;
use crate::failure::{Failure, SET_UP};
use crate::machine::Machine;
use crate::manifest::root;

/// The separator of flags in `CARGO_ENCODED_RUSTFLAGS`. That variable is used instead of
/// `RUSTFLAGS` because a path may hold a blank.
pub const SEPARATOR: &str = "\x1f";

/// The toolchain that builds the images of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain on PATH.
    OnPath,
    /// Debian's toolchain in /usr/bin.
    Debian,
}

/// Installs those of `items` that are missing. Returns a word for each, which says what
/// provides it: `std` or `build-std` for a toolchain, `path` or `debian` for clippy and
/// rustfmt. The head of `scripts/setup.sh` lists all set-up items, such as `gdb` and
/// `qemu:riscv64`, and all words.
///
/// # Errors
///
/// Fails with status [`SET_UP`] if an item cannot be installed. The script has printed why.
pub fn set_up(items: &[String]) -> Result<Vec<String>, Failure> {
    let output = Command::new(root().join("scripts/setup.sh"))
        .args(items)
        .stderr(Stdio::inherit())
        .stdin(Stdio::inherit())
        .output()
        .context("cannot run scripts/setup.sh")?;
    if !output.status.success() {
        return Err(Failure::reported(SET_UP));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

impl Toolchain {
    /// Returns the toolchain for a machine, and installs it if it is missing.
    pub fn set_up_for(machine: &Machine) -> Result<Toolchain, Failure> {
        let answers = set_up(&[setup_item(machine)])?;
        Ok(match answers.first().map(String::as_str) {
            Some("build-std") => Toolchain::Debian,
            _ => Toolchain::OnPath,
        })
    }

    /// Returns the toolchain's name for a message.
    pub fn describe(self) -> &'static str {
        match self {
            Toolchain::OnPath => "the one on PATH",
            Toolchain::Debian => "Debian's, building core and alloc from source",
        }
    }

    /// Returns `cargo VERB` for a machine's target, with the flags and profiles of an image.
    /// Variables of the environment that would change the build are cleared.
    pub fn image_cargo(self, verb: &str, machine: &Machine) -> Command {
        let mut command = self.target_cargo(verb, machine, &rustflags(machine));
        command
            .arg("--config")
            .arg(root().join("scripts/image.toml"))
            .arg("--target-dir")
            .arg(root().join("target/kernel"));
        command
    }

    /// Returns `cargo VERB` for a machine's target, with only the given flags, and the crate's
    /// own profiles. The caller adds the target directory.
    pub fn target_cargo(self, verb: &str, machine: &Machine, rustflags: &[String]) -> Command {
        let mut command = self.cargo(verb);
        clear_build_variables(&mut command);
        command
            .args(["--target", machine.target])
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(SEPARATOR));
        if self == Toolchain::Debian {
            command.args([
                "-Zbuild-std=core,alloc",
                "-Zbuild-std-features=compiler-builtins-mem",
            ]);
        }
        command
    }

    fn cargo(self, verb: &str) -> Command {
        let clippy = verb == "clippy";
        let mut command = match self {
            Toolchain::OnPath => command::cargo(),
            // `cargo clippy` would run rustup's cargo-clippy, which is first on PATH.
            Toolchain::Debian if clippy => command::new("/usr/bin/cargo-clippy"),
            Toolchain::Debian => command::new(command::DEBIAN_CARGO),
        };
        command.arg(verb);
        if self == Toolchain::Debian {
            command
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("CARGO", command::DEBIAN_CARGO)
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTDOC", "/usr/bin/rustdoc")
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Returns the set-up item that installs a machine's toolchain.
pub fn setup_item(machine: &Machine) -> String {
    format!("toolchain:{}", machine.target)
}

/// Returns the flags for rustc that each crate of an image is compiled with.
fn rustflags(machine: &Machine) -> Vec<String> {
    let platforms = root().join("platforms");
    let script = platforms.join(machine.platform).join("linker.ld");
    let mut flags = vec![
        format!("-Clink-arg=-T{}", script.display()),
        format!("-Clink-arg=-L{}", platforms.display()),
        "-Clink-arg=-no-pie".to_owned(),
        // `linkme` finds its slices by the start and stop symbols of their sections.
        "-Clink-arg=-znostart-stop-gc".to_owned(),
    ];
    flags.extend(machine.rustflags.iter().map(|flag| (*flag).to_owned()));
    flags.extend(remapped().map(|(path, name)| format!("--remap-path-prefix={path}={name}")));
    flags
}

/// Returns paths of this computer, and what replaces them in an image's panic messages and
/// debug information. So the image does not depend on where it is built.
fn remapped() -> impl Iterator<Item = (String, &'static str)> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let registry =
        cargo_home.map(|home| (home.join("registry/src").display().to_string(), "registry"));
    [
        (root().display().to_string(), "."),
        ("/usr/lib/rustlib/src/rust".to_owned(), "rust"),
    ]
    .into_iter()
    .chain(registry)
}

/// Removes from a command's environment the variables that would change the build of an
/// image. make's flags name a job server, which make does not share with xtask.
fn clear_build_variables(command: &mut Command) {
    let disturbing = |name: &str| {
        name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_TARGET_")
            || name.starts_with("CARGO_PROFILE_")
            || matches!(
                name,
                "RUSTFLAGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "RUSTDOCFLAGS"
                    | "CARGO_ENCODED_RUSTDOCFLAGS"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "MAKEFLAGS"
                    | "MFLAGS"
                    | "CARGO_MAKEFLAGS"
            )
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(disturbing) {
            command.env_remove(&name);
        }
    }
}
