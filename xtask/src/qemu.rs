//! `run`, and the command that starts a machine: QEMU, or the image itself as a process.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::command;
use crate::console::{self, End, Timeouts};
use crate::failure::Failure;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::options::{Accel, Options};
use crate::toolchain;

/// The memory of a machine without `MEM`, in KiB.
pub const DEFAULT_MEM_KIB: u64 = 128 << 10;

/// From this memory size on, in KiB, Linux does not reserve the guest's memory beforehand. It
/// would refuse more than the computer has, and many computers have less than this: 8 GiB.
const LARGE_KIB: u64 = 8 << 20;

/// One machine to boot, with its size and its image.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The kind of machine.
    pub machine: &'static Machine,
    /// The file it boots.
    pub boot_file: PathBuf,
    /// How many harts it has.
    pub smp: u32,
    /// How much memory it has.
    pub mem_kib: u64,
    /// What executes its code.
    pub accel: Accel,
    /// The boot arguments, by words.
    pub boot_args: Vec<String>,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

/// What the machine's console reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An empty input.
    Empty,
    /// The standard input of this process.
    User,
}

impl Guest {
    /// The machine that the user asks for, with `image`. It has `default_smp` harts if `SMP`
    /// is not given.
    pub fn from_options(options: &Options, image: &Image, default_smp: u32) -> Guest {
        Guest {
            machine: image.machine,
            boot_file: image.boot_file().to_owned(),
            smp: options.smp.unwrap_or(default_smp),
            mem_kib: options.mem_kib.unwrap_or(DEFAULT_MEM_KIB),
            accel: options.accel,
            boot_args: options.boot_args.clone(),
            extra: options.qemu_args.clone(),
        }
    }

    /// Returns the command that starts the machine.
    pub fn command(&self, input: Input) -> Command {
        let mut command = match self.machine.is_process() {
            true => self.process(),
            false => self.qemu(input),
        };
        command.stdin(match input {
            Input::Empty => Stdio::null(),
            Input::User => Stdio::inherit(),
        });
        command
    }

    fn process(&self) -> Command {
        let mut process = command::new(&self.boot_file);
        process
            .envs(self.environment())
            .args(self.joined_boot_args());
        process
    }

    /// Returns the environment variables from which a process reads the number of its harts
    /// and its memory.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let mem = format!("{}K", self.mem_kib);
        [("SMP", self.smp.to_string()), ("MEM", mem)]
    }

    /// Returns the boot arguments as one string; `None` without any.
    pub fn joined_boot_args(&self) -> Option<String> {
        (!self.boot_args.is_empty()).then(|| self.boot_args.join(" "))
    }

    fn qemu(&self, input: Input) -> Command {
        let terminal = input == Input::User && io::stdin().is_terminal();
        let mut qemu = command::new(format!("qemu-system-{}", self.machine.arch));
        qemu.args(self.machine.qemu);
        match self.accel {
            Accel::Tcg => qemu.args(["-accel", "tcg", "-cpu", self.machine.cpu]),
            Accel::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        };
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", if terminal { "mon:stdio" } else { "stdio" }])
            .args(["-smp", &self.smp.to_string()])
            .args(["-m", &format!("{}k", self.mem_kib)])
            .arg("-kernel")
            .arg(&self.boot_file);
        if self.mem_kib >= LARGE_KIB {
            let memory = format!(
                "memory-backend-ram,id=large,reserve=off,size={}k",
                self.mem_kib
            );
            qemu.args(["-object", &memory, "-machine", "memory-backend=large"]);
        }
        if let Some(words) = self.joined_boot_args() {
            qemu.args(["-append", &words]);
        }
        qemu.args(&self.extra);
        qemu
    }
}

/// Returns the set-up item that installs a machine's QEMU; `None` for a process.
pub fn setup_item(machine: &Machine) -> Option<String> {
    (!machine.is_process()).then(|| format!("qemu:{}", machine.arch))
}

/// Checks that each of `machines` can have the memory `MEM`. Then installs what is missing to
/// build for them and to boot them.
pub fn set_up(options: &Options, machines: &[&Machine]) -> Result<(), Failure> {
    options.check_memory(machines)?;
    let items = |machine: &&Machine| {
        [toolchain::setup_item(machine)]
            .into_iter()
            .chain(setup_item(machine))
    };
    toolchain::set_up(&machines.iter().flat_map(items).collect::<Vec<_>>())?;
    Ok(())
}

/// `run`: builds the image and boots it.
///
/// # Errors
///
/// Fails with the guest's status if that is not 0.
pub fn run(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    set_up(options, &[machine])?;
    let image = Recipe::from_options(options).build(options.verbose)?;
    let (end, _) = boot(options, &Guest::from_options(options, &image, 1))?;
    result_of(&end)
}

/// Boots a guest whose console is this process's standard input and output. Returns how the
/// run ended, and the console.
pub fn boot(options: &Options, guest: &Guest) -> Result<(End, Vec<u8>), Failure> {
    let qemu = guest.command(Input::User);
    command::show(&qemu, options.verbose);
    if options.verbose && io::stdin().is_terminal() && !guest.machine.is_process() {
        say_error!("(Ctrl-A X ends QEMU)");
    }
    let timeouts = Timeouts {
        silence: options.timeout,
        total: None,
    };
    Ok(console::run(qemu, timeouts, |piece| {
        let mut out = io::stdout().lock();
        out.write_all(piece)?;
        out.flush()
    })?)
}

/// Turns the end of a guest into this process's result.
///
/// # Errors
///
/// Fails with the guest's status if that is not 0.
pub fn result_of(end: &End) -> Result<(), Failure> {
    match end.status() {
        0 => Ok(()),
        status => Err(Failure::with_status(status, end.describe())),
    }
}

/// Returns a size of memory in the form that `MEM` takes.
pub fn mem_value(mem_kib: u64) -> String {
    match mem_kib {
        kib if kib % (1 << 20) == 0 => format!("{}G", kib >> 20),
        kib if kib % (1 << 10) == 0 => format!("{}M", kib >> 10),
        kib => format!("{kib}K"),
    }
}
