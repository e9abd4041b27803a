//! The variables that the user sets, read and checked before anything else is done.
//!
//! They come from the environment, where make puts them, and as `NAME=value` from the
//! command line, which takes precedence. `TIME` is checked only by `fuzz` and `N` only by
//! `smp-soak`: shells and other programs use variables of these names too.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::quoted;
use crate::failure::Failure;
use crate::machine::{MACHINES, MAX_HARTS, Machine};
use crate::manifest::{self, App};

/// The names of all variables.
pub const NAMES: [&str; 17] = [
    "A",
    "ARCH",
    "SMP",
    "MEM",
    "MODE",
    "LOG",
    "FEATURES",
    "APP_FEATURES",
    "ACCEL",
    "QEMU_ARGS",
    "ARGS",
    "PROG",
    "SEED",
    "TIMEOUT",
    "TIME",
    "N",
    "V",
];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const DEFAULT_APP: &str = "apps/helloworld";
/// The default of `LOG`.
pub const DEFAULT_LOG: &str = "warn";
const DEFAULT_TIMEOUT: u64 = 60;
const DEFAULT_TIME: u64 = 60;
const DEFAULT_BOOTS: u64 = 100;
const MAX_BOOTS: u64 = 1_000_000;
/// The largest length of the boot arguments, in bytes. QEMU's loongarch64 keeps 511 bytes,
/// and a verb may add a word of its own, such as `maps=1`.
const MAX_BOOT_ARGS_LEN: usize = 500;
const MAX_SECONDS: u64 = 24 * 60 * 60;

/// Removes all variables of [`NAMES`], and those of make, from a command's environment.
pub fn clear_variables(command: &mut Command) {
    for name in NAMES
        .into_iter()
        .chain(["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS"])
    {
        command.env_remove(name);
    }
}

/// How the image is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Optimised, without overflow checks.
    Release,
    /// With overflow checks and assertions.
    Debug,
}

/// What executes the machine's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's emulator.
    Tcg,
    /// This computer's CPU, by Linux's KVM.
    Kvm,
}

/// The checked values of the variables. `TIME` and `N` are checked by the verbs that use them
/// ([`fuzz_seconds`](Self::fuzz_seconds), [`boots`](Self::boots)).
#[derive(Debug, Clone)]
pub struct Options {
    /// `A`
    pub app: App,
    /// `ARCH`, if given
    pub arch: Option<&'static Machine>,
    /// `SMP`, if given
    pub smp: Option<u32>,
    /// `MEM` in KiB, if given
    pub mem_kib: Option<u64>,
    /// `MODE`
    pub mode: Mode,
    /// `LOG`
    pub log: String,
    /// `FEATURES`: the kernel's
    pub features: Vec<String>,
    /// `APP_FEATURES`: the application's own
    pub app_features: Vec<String>,
    /// `ACCEL`
    pub accel: Accel,
    /// `QEMU_ARGS`
    pub qemu_args: Vec<String>,
    /// `ARGS`, `PROG` and `SEED`: the boot arguments, by words
    pub boot_args: Vec<String>,
    /// `SEED`, if given
    pub seed: Option<u64>,
    /// `TIMEOUT`: how long the console may be silent; `None`: for ever
    pub timeout: Option<Duration>,
    /// `V`
    pub verbose: bool,
    /// all variables as given
    pub given: Variables,
}

/// The variables as the user gave them. An empty value counts as not given.
#[derive(Debug, Default, Clone)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads the environment, and then `NAME=value` arguments, which take precedence.
    ///
    /// # Errors
    ///
    /// Fails if an argument does not set a variable of [`NAMES`].
    pub fn from_env_and_args(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut variables = Variables::default();
        for name in NAMES {
            if let Some(value) = env::var_os(name) {
                variables.set(name, &value.to_string_lossy());
            }
        }
        variables.with_arguments(arguments)
    }

    /// Returns the variables with those that `NAME=value` arguments set.
    ///
    /// # Errors
    ///
    /// Fails if an argument does not set a variable of [`NAMES`].
    pub fn with_arguments(
        mut self,
        arguments: impl Iterator<Item = String>,
    ) -> Result<Self, Failure> {
        for argument in arguments {
            match argument.split_once('=') {
                Some((name, value)) if NAMES.contains(&name) => self.set(name, value),
                _ => {
                    return Err(Failure::usage(format!(
                        "{argument}: does not set a variable; valid: NAME=value with one of {}",
                        NAMES.join(", ")
                    )));
                }
            }
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.trim().to_owned());
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns those of `names` that were given, as words ` NAME=value` of a shell command.
    pub fn words_of(&self, names: &[&str]) -> String {
        let word = |name: &&str| Some(format!(" {name}={}", quoted(self.get(name)?)));
        names.iter().filter_map(word).collect()
    }
}

impl Options {
    /// Checks all variables but `TIME` and `N`, also against the limits of the machine that
    /// `ARCH` names, or of the default one.
    ///
    /// # Errors
    ///
    /// Fails with the first wrong value. The message names it and the valid ones.
    pub fn from_variables(variables: &Variables) -> Result<Options, Failure> {
        let arch = variables.get("ARCH").map(parse_arch).transpose()?;
        let app = parse_app(variables.get("A").unwrap_or(DEFAULT_APP))?;
        let kernel = manifest::kernel_features().map_err(Failure::from)?;
        let features = parse_list("FEATURES", variables, &kernel, "the kernel")?;
        let app_features = parse_list("APP_FEATURES", variables, &app.features, &app.name)?;
        let machine = arch.unwrap_or(&MACHINES[0]);
        check_combination(machine, &app, variables)?;
        let seed = variables.get("SEED").map(parse_seed).transpose()?;
        Ok(Options {
            arch,
            smp: variables.get("SMP").map(parse_smp).transpose()?,
            mem_kib: variables
                .get("MEM")
                .map(|value| parse_mem(value, machine))
                .transpose()?,
            mode: parse_mode(variables.get("MODE").unwrap_or("release"))?,
            log: parse_log(variables.get("LOG").unwrap_or(DEFAULT_LOG))?,
            accel: parse_accel(variables.get("ACCEL").unwrap_or("tcg"), machine)?,
            qemu_args: words(variables.get("QEMU_ARGS")),
            boot_args: boot_args(variables.get("ARGS"), variables.get("PROG"), seed)?,
            seed,
            timeout: parse_timeout(variables.get("TIMEOUT"))?,
            verbose: parse_verbose(variables.get("V").unwrap_or("0"))?,
            given: variables.clone(),
            app,
            features,
            app_features,
        })
    }

    /// Checks `MEM` against the limits of each of `machines`.
    ///
    /// # Errors
    ///
    /// Fails if one of them cannot have so little memory, or so much.
    pub fn check_memory(&self, machines: &[&Machine]) -> Result<(), Failure> {
        match self.given.get("MEM") {
            Some(value) => machines
                .iter()
                .try_for_each(|machine| parse_mem(value, machine).map(drop)),
            None => Ok(()),
        }
    }

    /// Returns `TIME`: how long to fuzz, in seconds.
    ///
    /// # Errors
    ///
    /// Fails if the value is not a number of seconds from 1 to a day.
    pub fn fuzz_seconds(&self) -> Result<u64, Failure> {
        parse_time(self.given.get("TIME"))
    }

    /// Returns `N`: how often to boot each machine.
    ///
    /// # Errors
    ///
    /// Fails if the value is not a number from 1 to [`MAX_BOOTS`].
    pub fn boots(&self) -> Result<u64, Failure> {
        parse_boots(self.given.get("N"))
    }

    /// Returns the machine that `ARCH` names, or the default one.
    pub fn machine(&self) -> &'static Machine {
        self.arch.unwrap_or(&MACHINES[0])
    }

    /// Returns the machine that `ARCH` names, or all.
    pub fn machines(&self) -> Vec<&'static Machine> {
        self.arch
            .map_or_else(|| Machine::all().collect(), |machine| vec![machine])
    }

    /// Returns the machines that QEMU emulates: the one that `ARCH` names, or all.
    ///
    /// # Errors
    ///
    /// Fails with `ARCH=host`. That machine is a Linux process, so no emulator counts its
    /// instructions.
    pub fn emulated(&self) -> Result<Vec<&'static Machine>, Failure> {
        let mut machines = self.machines();
        machines.retain(|machine| !machine.is_process());
        match machines.is_empty() {
            true => Err(Failure::usage(format!(
                "ARCH={}: only an emulator counts instructions; valid: {}",
                self.machine(),
                emulators()
            ))),
            false => Ok(machines),
        }
    }
}

/// Returns the names of the machines that QEMU emulates, for a message.
fn emulators() -> String {
    Machine::all()
        .filter(|machine| !machine.is_process())
        .map(|machine| machine.arch)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Refuses values that are valid alone but not together.
fn check_combination(machine: &Machine, app: &App, variables: &Variables) -> Result<(), Failure> {
    if !machine.supports_app(&app.name) {
        let value = variables.get("A").unwrap_or_default();
        return Err(Failure::usage(format!(
            "A={value}: counts instructions, but ARCH={machine} does not; valid for ARCH: {}",
            emulators()
        )));
    }
    match variables.get("QEMU_ARGS") {
        Some(value) if machine.is_process() => Err(Failure::usage(format!(
            "QEMU_ARGS={value}: ARCH={machine} runs without QEMU; valid for ARCH: {}",
            emulators()
        ))),
        _ => Ok(()),
    }
}

fn parse_arch(value: &str) -> Result<&'static Machine, Failure> {
    Machine::named(value).ok_or_else(|| {
        Failure::usage(format!(
            "ARCH={value}: unknown machine; valid: {}",
            Machine::names()
        ))
    })
}

fn parse_app(value: &str) -> Result<App, Failure> {
    App::read(&resolve(value)).map_err(|reason| {
        let ours = manifest::crates_in("apps").iter().map(|name| format!("apps/{name}")).collect::<Vec<_>>();
        Failure::usage(format!(
            "A={value}: not an application ({reason}); valid: {}, or the path of a crate that depends on axstd",
            ours.join(", ")
        ))
    })
}

/// Resolves a path against the current folder, or else against the repository's root.
fn resolve(value: &str) -> PathBuf {
    let path = Path::new(value);
    if path.is_dir() {
        path.to_owned()
    } else {
        manifest::root().join(path)
    }
}

/// Returns the features that a variable lists, sorted, each once.
///
/// # Errors
///
/// Fails if one of them is not in `known`. The message calls the owner of the `known` features
/// by the name `whose`.
fn parse_list(
    name: &str,
    variables: &Variables,
    known: &[String],
    whose: &str,
) -> Result<Vec<String>, Failure> {
    let mut list: Vec<String> = Vec::new();
    for word in variables
        .get(name)
        .unwrap_or_default()
        .split([',', ' ', '\t'])
    {
        if word.is_empty() || list.iter().any(|seen| seen == word) {
            continue;
        }
        if !known.iter().any(|feature| feature == word) {
            let valid = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(Failure::usage(format!(
                "{name}={word}: {whose} has no such feature; valid: {valid}"
            )));
        }
        list.push(word.to_owned());
    }
    list.sort();
    Ok(list)
}

fn parse_smp(value: &str) -> Result<u32, Failure> {
    number(value)
        .and_then(|harts| u32::try_from(harts).ok())
        .filter(|harts| (1..=MAX_HARTS).contains(harts))
        .ok_or_else(|| {
            Failure::usage(format!(
                "SMP={value}: not a valid number of harts; valid: 1 to {MAX_HARTS}"
            ))
        })
}

fn parse_mem(value: &str, machine: &Machine) -> Result<u64, Failure> {
    mem_kib(value)
        .filter(|kib| (machine.min_mib << 10..=machine.max_mib << 10).contains(kib) && kib % 4 == 0)
        .ok_or_else(|| {
            Failure::usage(format!(
                "MEM={value}: not a valid memory size for {}; valid: {}M to {}G in steps of 4K, as in 64M, 1G, 65536K, or 64 for 64M",
                machine.arch,
                machine.min_mib,
                machine.max_mib >> 10
            ))
        })
}

/// Parses a memory size: a number followed by K, M or G, or without a unit a number of MiB.
/// Returns it in KiB.
fn mem_kib(value: &str) -> Option<u64> {
    let (digits, unit) = match value.char_indices().last()? {
        (at, 'K' | 'k') => (&value[..at], 1),
        (at, 'M' | 'm') => (&value[..at], 1 << 10),
        (at, 'G' | 'g') => (&value[..at], 1 << 20),
        _ => (value, 1 << 10),
    };
    number(digits)?.checked_mul(unit)
}

fn number(digits: &str) -> Option<u64> {
    number_in_base(digits, 10)
}

/// Parses digits only. `from_str_radix` alone would accept a `+` before them.
fn number_in_base(digits: &str, base: u32) -> Option<u64> {
    match digits.chars().all(|char| char.is_digit(base)) {
        true => u64::from_str_radix(digits, base).ok(),
        false => None,
    }
}

fn parse_mode(value: &str) -> Result<Mode, Failure> {
    match value {
        "release" => Ok(Mode::Release),
        "debug" => Ok(Mode::Debug),
        _ => Err(Failure::usage(format!(
            "MODE={value}: unknown mode; valid: release, debug"
        ))),
    }
}

fn parse_log(value: &str) -> Result<String, Failure> {
    if LEVELS.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(Failure::usage(format!(
        "LOG={value}: unknown log level; valid: {}",
        LEVELS.join(", ")
    )))
}

fn parse_accel(value: &str, machine: &Machine) -> Result<Accel, Failure> {
    let usable = machine.is_native() && Path::new("/dev/kvm").exists();
    match value {
        "tcg" => Ok(Accel::Tcg),
        "auto" => Ok(if usable { Accel::Kvm } else { Accel::Tcg }),
        "kvm" if usable => Ok(Accel::Kvm),
        "kvm" => Err(Failure::usage(format!(
            "ACCEL=kvm: this computer cannot run {} by KVM; valid here: tcg, auto",
            machine.arch
        ))),
        _ => Err(Failure::usage(format!(
            "ACCEL={value}: unknown accelerator; valid: tcg, kvm, auto"
        ))),
    }
}

fn parse_seed(value: &str) -> Result<u64, Failure> {
    let seed = match value.strip_prefix("0x") {
        Some(digits) => number_in_base(digits, 16),
        None => number(value),
    };
    seed.ok_or_else(|| {
        Failure::usage(format!(
            "SEED={value}: not a 64-bit number; valid: 0 to {}, or hexadecimal as in 0xff",
            u64::MAX
        ))
    })
}

/// Returns the boot arguments, by words: `ARGS`, then `prog=NAME` and `seed=N` if they are given.
///
/// # Errors
///
/// Fails if they are longer than what the loaders of all machines pass on.
fn boot_args(
    args: Option<&str>,
    program: Option<&str>,
    seed: Option<u64>,
) -> Result<Vec<String>, Failure> {
    let program = program.map(|name| format!("prog={name}"));
    let seed = seed.map(|seed| format!("seed={seed}"));
    let words: Vec<String> = words(args).into_iter().chain(program).chain(seed).collect();
    let bytes = words.join(" ").len();
    if bytes <= MAX_BOOT_ARGS_LEN {
        return Ok(words);
    }
    let beginning: String = args.unwrap_or_default().chars().take(20).collect();
    Err(Failure::usage(format!(
        "ARGS={beginning}…: {bytes} bytes together with PROG and SEED; valid: at most {MAX_BOOT_ARGS_LEN}"
    )))
}

fn parse_timeout(value: Option<&str>) -> Result<Option<Duration>, Failure> {
    let Some(value) = value else {
        return Ok(Some(Duration::from_secs(DEFAULT_TIMEOUT)));
    };
    let seconds = number(value).filter(|seconds| *seconds <= MAX_SECONDS).ok_or_else(|| {
        Failure::usage(format!(
            "TIMEOUT={value}: not a valid number of seconds; valid: 1 to {MAX_SECONDS}, or 0 for no limit"
        ))
    })?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn parse_time(value: Option<&str>) -> Result<u64, Failure> {
    let Some(value) = value else {
        return Ok(DEFAULT_TIME);
    };
    let seconds = number(value).filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    seconds.ok_or_else(|| {
        Failure::usage(format!(
            "TIME={value}: not a valid number of seconds; valid: 1 to {MAX_SECONDS}"
        ))
    })
}

fn parse_boots(value: Option<&str>) -> Result<u64, Failure> {
    let Some(value) = value else {
        return Ok(DEFAULT_BOOTS);
    };
    let boots = number(value).filter(|boots| (1..=MAX_BOOTS).contains(boots));
    boots.ok_or_else(|| {
        Failure::usage(format!(
            "N={value}: not a valid number of boots; valid: 1 to {MAX_BOOTS}"
        ))
    })
}

fn parse_verbose(value: &str) -> Result<bool, Failure> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Failure::usage(format!(
            "V={value}: not a switch; valid: 0 to hide commands, 1 to show them"
        ))),
    }
}

fn words(value: Option<&str>) -> Vec<String> {
    value
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<Options, Failure> {
        let mut variables = Variables::default();
        for (name, value) in pairs {
            variables.set(name, value);
        }
        Options::from_variables(&variables)
    }

    /// Asserts that a value is refused in one line that names it and the valid ones.
    fn refused(name: &str, value: &str) {
        is_refusal(check(&[(name, value)]).unwrap_err(), name, value);
    }

    fn is_refusal(failure: Failure, name: &str, value: &str) {
        let message = failure.to_string();
        assert_eq!(failure.status(), 2, "{message}");
        assert!(
            message.starts_with(&format!("{name}={value}: ")),
            "{message}"
        );
        assert!(message.contains("valid"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn variables_that_are_not_given_have_defaults() {
        let options = check(&[]).unwrap();
        assert_eq!(options.machine().arch, "riscv64");
        assert_eq!(options.app.name, "helloworld");
        assert_eq!((options.smp, options.mem_kib), (None, None));
        assert_eq!((options.mode, options.accel), (Mode::Release, Accel::Tcg));
        assert_eq!(options.log, "warn");
        assert_eq!(options.timeout, Some(Duration::from_secs(60)));
        assert_eq!(options.fuzz_seconds().unwrap(), 60);
        assert!(options.machines().len() >= 4);
    }

    #[test]
    fn an_empty_value_counts_as_not_given() {
        assert_eq!(
            check(&[("ARCH", ""), ("SMP", " ")]).unwrap().machine().arch,
            "riscv64"
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for (name, values) in [
            ("ARCH", &["mips", "RISCV64", "riscv64 x86_64"][..]),
            ("A", &["apps/none", "docs", "xtask", "/"]),
            (
                "SMP",
                &["0", "65", "999", "-1", "+4", "two", "1.5", "99999999999"],
            ),
            (
                "MEM",
                &[
                    "12x",
                    "x",
                    "M",
                    "0",
                    "1M",
                    "-64M",
                    "+64M",
                    "1T",
                    "9999G",
                    "65537K",
                    "99999999999999999999G",
                ],
            ),
            ("MODE", &["fast", "Release"]),
            ("LOG", &["loud", "WARN"]),
            ("ACCEL", &["hvf"]),
            ("TIMEOUT", &["-1", "1s", "99999999"]),
            ("FEATURES", &["nosuch"]),
            ("APP_FEATURES", &["nosuch"]),
            (
                "SEED",
                &["-1", "+1", "0x", "0xg", "0x+1", "18446744073709551616"],
            ),
            ("V", &["2", "yes"]),
        ] {
            values.iter().for_each(|value| refused(name, value));
        }
    }

    /// Other programs use the name too: GNU time's `TIME` is a format.
    #[test]
    fn time_is_checked_only_when_it_is_used() {
        for value in ["0", "-1", "1s", "99999999", "%E real"] {
            let options = check(&[("TIME", value)]).unwrap();
            is_refusal(options.fuzz_seconds().unwrap_err(), "TIME", value);
        }
        let options = check(&[("TIME", "5")]).unwrap();
        assert_eq!(options.fuzz_seconds().unwrap(), 5);
    }

    #[test]
    fn the_number_of_boots_is_checked_only_when_it_is_used() {
        for value in ["0", "-1", "many", "99999999"] {
            let options = check(&[("N", value)]).unwrap();
            is_refusal(options.boots().unwrap_err(), "N", value);
        }
        assert_eq!(check(&[("N", "5")]).unwrap().boots().unwrap(), 5);
        assert_eq!(check(&[]).unwrap().boots().unwrap(), DEFAULT_BOOTS);
    }

    #[test]
    fn kvm_is_refused_for_another_architecture() {
        let foreign = MACHINES
            .iter()
            .find(|machine| !machine.is_native())
            .unwrap();
        let failure = check(&[("ARCH", foreign.arch), ("ACCEL", "kvm")]).unwrap_err();
        assert_eq!(failure.status(), 2);
        let options = check(&[("ARCH", foreign.arch), ("ACCEL", "auto")]).unwrap();
        assert_eq!(options.accel, Accel::Tcg);
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn a_process_takes_no_qemu_arguments_and_counts_no_instructions() {
        for (name, value) in [("QEMU_ARGS", "-d int"), ("A", "apps/mmbench")] {
            let failure = check(&[("ARCH", "host"), (name, value)]).unwrap_err();
            let message = failure.to_string();
            assert_eq!(failure.status(), 2, "{message}");
            assert!(message.contains(" ARCH=host "), "{message}");
            assert!(message.contains("valid"), "{message}");
        }
        let options = check(&[("ARCH", "host")]).unwrap();
        assert_eq!(options.emulated().unwrap_err().status(), 2);
        assert_eq!(check(&[]).unwrap().emulated().unwrap().len(), 4);
        assert!(check(&[("ARCH", "host"), ("ACCEL", "kvm")]).is_err());
    }

    #[test]
    fn memory_sizes_have_units() {
        for (value, kib) in [
            ("64M", 65536),
            ("64", 65536),
            ("1G", 1 << 20),
            ("65536K", 65536),
            ("100m", 102_400),
        ] {
            assert_eq!(
                check(&[("MEM", value)]).unwrap().mem_kib,
                Some(kib),
                "{value}"
            );
        }
    }

    #[test]
    fn the_smallest_memory_depends_on_the_machine() {
        assert!(check(&[("ARCH", "riscv64"), ("MEM", "32M")]).is_ok());
        assert!(check(&[("ARCH", "loongarch64"), ("MEM", "32M")]).is_err());
        let options = check(&[("MEM", "32M")]).unwrap();
        let machines = options.machines();
        assert!(options.check_memory(&machines[..1]).is_ok());
        let failure = options.check_memory(&machines).unwrap_err();
        assert!(failure.to_string().contains("loongarch64"));
        is_refusal(failure, "MEM", "32M");
    }

    #[test]
    fn given_variables_are_words_of_a_command() {
        let options = check(&[("LOG", "info"), ("MODE", ""), ("QEMU_ARGS", "-cpu max")]);
        let names = ["MODE", "LOG", "FEATURES", "QEMU_ARGS"];
        assert_eq!(
            options.unwrap().given.words_of(&names),
            " LOG=info QEMU_ARGS='-cpu max'"
        );
    }

    #[test]
    fn features_are_separated_by_commas_or_blanks() {
        let options = check(&[("FEATURES", "smp, alloc  smp")]).unwrap();
        assert_eq!(options.features, ["alloc", "smp"]);
    }

    #[test]
    fn the_seed_becomes_a_boot_argument() {
        let options = check(&[("ARGS", "quick  twice"), ("SEED", "0xff")]).unwrap();
        assert_eq!(options.boot_args, ["quick", "twice", "seed=255"]);
        assert_eq!(options.seed, Some(255));
    }

    #[test]
    fn boot_arguments_that_are_too_long_are_refused() {
        let args = |bytes| "x".repeat(bytes);
        assert!(check(&[("ARGS", &args(MAX_BOOT_ARGS_LEN))]).is_ok());
        let pairs: [&[(&str, &str)]; 2] = [
            &[("ARGS", &args(MAX_BOOT_ARGS_LEN + 1))],
            &[("ARGS", &args(MAX_BOOT_ARGS_LEN - 6)), ("SEED", "1")],
        ];
        for pairs in pairs {
            let failure = check(pairs).unwrap_err();
            let message = failure.to_string();
            assert_eq!(failure.status(), 2, "{message}");
            assert!(
                message.starts_with("ARGS=xxxxxxxxxxxxxxxxxxxx…: 501 bytes"),
                "{message}"
            );
            assert!(message.ends_with("; valid: at most 500"), "{message}");
        }
    }

    #[test]
    fn a_timeout_of_zero_is_no_timeout() {
        assert_eq!(check(&[("TIMEOUT", "0")]).unwrap().timeout, None);
        assert_eq!(
            check(&[("TIMEOUT", "5")]).unwrap().timeout,
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn the_command_line_takes_only_known_variables() {
        assert!(Variables::from_env_and_args(["ARCH=x86_64".to_owned()].into_iter()).is_ok());
        for word in ["ARHC=x86_64", "--help", "ARCH"] {
            let failure = Variables::from_env_and_args([word.to_owned()].into_iter()).unwrap_err();
            assert_eq!(failure.status(), 2);
        }
    }
}
