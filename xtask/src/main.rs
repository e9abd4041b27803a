//! The build tool of Tessera: `xtask VERB [NAME=value ...]`. make calls it with the
//! variables in the environment.
//!
//! | files | subject |
//! |---|---|
//! | `options` | the variables that the user sets, checked |
//! | `machine` | the machines that an image can be built for |
//! | `manifest` | packages, features and applications, from the Cargo.toml files |
//! | `toolchain`, `image`, `user_programs` | building |
//! | `qemu`, `icount`, `console` | booting, and reading the console |
//! | `device_tree`, `missing_hart` | machines with a changed device tree |
//! | `symbols` | what an image is made of |
//! | `figures` | results of benchmarks |
//! | `caller`, `command`, `failure`, `files`, `output` | processes, exit statuses, files, messages |
//! | `matrix` | `test` and `test-long`: a matrix of applications and machines |
//! | `bench` | `bench`, `bench-boot` and `bench-threads` |
//! | `check`, `debug` | their own verbs, and `doc` and `disasm` |
//! | all others | one verb each, named for it |
//!
//! The verb `run` is in `qemu`, `build` and `setup` are here. [`VERBS`] lists all. The crate
//! `maps` draws address spaces.

#[macro_use]
mod output;

mod bench;
mod caller;
mod check;
mod command;
mod console;
mod debug;
mod device_tree;
mod failure;
mod figures;
mod files;
mod fuzz;
mod icount;
mod image;
mod machine;
mod manifest;
mod maps;
mod matrix;
mod missing_hart;
mod mutants;
mod options;
mod qemu;
mod size;
mod smp_soak;
mod smp_test;
mod symbols;
mod toolchain;
mod user_programs;

use std::env;
use std::process::ExitCode;

use failure::Failure;
use image::Recipe;
use options::{Options, Variables};
use toolchain::Toolchain;

type Verb = fn(&Options) -> Result<(), Failure>;

const VERBS: [(&str, Verb); 18] = [
    ("build", build),
    ("run", qemu::run),
    ("test", matrix::test),
    ("test-long", matrix::test_long),
    ("fuzz", fuzz::fuzz),
    ("mutants", mutants::mutants),
    ("smp-test", smp_test::smp_test),
    ("smp-soak", smp_soak::smp_soak),
    ("debug", debug::debug),
    ("disasm", debug::disasm),
    ("size", size::size),
    ("maps", maps::maps),
    ("bench", bench::bench),
    ("bench-boot", bench::boot::bench_boot),
    ("bench-threads", bench::threads::bench_threads),
    ("doc", check::doc),
    ("check", check::check),
    ("setup", set_up),
];

fn main() -> ExitCode {
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    match run_verb(words.skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_reported() {
                say_error!("{failure}");
            }
            ExitCode::from(failure.status())
        }
    }
}

/// Runs the verb that the first argument names, on the variables of the environment and of
/// the other arguments.
fn run_verb(mut arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut word = arguments.next().unwrap_or_default();
    if let Some(caller) = caller::parse_argument(&word)? {
        caller::watch(caller);
        word = arguments.next().unwrap_or_default();
    }
    let name = word;
    let Some((_, verb)) = VERBS.iter().find(|(verb, _)| *verb == name) else {
        let valid = VERBS.map(|(verb, _)| verb).join(", ");
        return Err(Failure::usage(format!(
            "`{name}` is not a verb; valid: {valid}"
        )));
    };
    verb(&Options::from_variables(&Variables::from_env_and_args(
        arguments,
    )?)?)
}

/// `build`: builds the image, and prints where it is.
fn build(options: &Options) -> Result<(), Failure> {
    let image = Recipe::from_options(options).build(options.verbose)?;
    say!(
        "{} ({} bytes)\n{}",
        image.bin.display(),
        image.bytes()?,
        image.elf.display()
    );
    Ok(())
}

/// `setup`: installs what verbs need, for the machine that `ARCH` names or for all. It leaves
/// out the nightly Rust, which `fuzz` and `test-long` install when they need it.
fn set_up(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    let kernel = machines.iter().flat_map(|machine| {
        let tools = [
            toolchain::setup_item(machine),
            format!("clippy:{}", machine.target),
        ];
        tools.into_iter().chain(qemu::setup_item(machine))
    });
    let host = ["rustfmt", "clippy", "gdb", bench::host::ITEM].map(str::to_owned);
    toolchain::set_up(&kernel.chain(host).collect::<Vec<_>>())?;
    for machine in machines {
        say!(
            "{machine}: ready; toolchain: {}",
            Toolchain::set_up_for(machine)?.describe()
        );
    }
    Ok(())
}
