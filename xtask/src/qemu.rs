//! The command that is a machine, QEMU's or a process of this computer, and `run`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::command;
use crate::console::{self, End, Patience};
use crate::failure::Failure;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::options::{Accel, Options};
use crate::toolchain;

/// Memory of a machine unless told otherwise, in KiB.
pub const DEFAULT_MEM_KIB: u64 = 128 << 10;

/// Memory from which on a guest gets only as much of this computer's as it uses:
/// more than many have. 8 GiB.
const LARGE_KIB: u64 = 8 << 20;

/// One machine to switch on.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Which machine.
    pub machine: &'static Machine,
    /// The file it boots.
    pub kernel: PathBuf,
    /// How many harts it has.
    pub smp: u32,
    /// How much memory it has.
    pub mem_kib: u64,
    /// What runs it.
    pub accel: Accel,
    /// The words that the kernel is started with.
    pub boot_args: Vec<String>,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

/// Who is at the machine's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nobody.
    Nobody,
    /// Whatever this process's standard input is.
    User,
}

impl Guest {
    /// The machine that the user asks for, with `image` in it.
    pub fn asked(options: &Options, image: &Image, default_smp: u32) -> Guest {
        Guest {
            machine: image.machine,
            kernel: image.kernel().to_owned(),
            smp: options.smp.unwrap_or(default_smp),
            mem_kib: options.mem_kib.unwrap_or(DEFAULT_MEM_KIB),
            accel: options.accel,
            boot_args: options.boot_args.clone(),
            extra: options.qemu_args.clone(),
        }
    }

    /// The command that switches it on.
    pub fn command(&self, input: Input) -> Command {
        let mut command = match self.machine.is_process() {
            true => self.process(),
            false => self.qemu(input),
        };
        command.stdin(match input {
            Input::Nobody => Stdio::null(),
            Input::User => Stdio::inherit(),
        });
        command
    }

    fn process(&self) -> Command {
        let mut process = command::new(&self.kernel);
        process.envs(self.environment()).args(self.words());
        process
    }

    /// What a process reads its size from.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let mem = format!("{}K", self.mem_kib);
        [("SMP", self.smp.to_string()), ("MEM", mem)]
    }

    /// The words that the kernel is started with, as one, if there are any.
    pub fn words(&self) -> Option<String> {
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
            .arg(&self.kernel);
        if self.mem_kib >= LARGE_KIB {
            let memory = format!(
                "memory-backend-ram,id=large,reserve=off,size={}k",
                self.mem_kib
            );
            qemu.args(["-object", &memory, "-machine", "memory-backend=large"]);
        }
        if let Some(words) = self.words() {
            qemu.args(["-append", &words]);
        }
        qemu.args(&self.extra);
        qemu
    }
}

/// The set-up item that brings a machine's QEMU, if it is QEMU's.
pub fn item(machine: &Machine) -> Option<String> {
    (!machine.is_process()).then(|| format!("qemu:{}", machine.arch))
}

/// Sets up what it takes to build for `machines` and to boot them.
pub fn set_up(machines: &[&Machine]) -> Result<(), Failure> {
    let items = |machine: &&Machine| [toolchain::item(machine)].into_iter().chain(item(machine));
    toolchain::set_up(&machines.iter().flat_map(items).collect::<Vec<_>>())?;
    Ok(())
}

/// `run`: builds the image, boots it, and ends with the guest's status.
pub fn run(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    set_up(&[machine])?;
    let image = Recipe::asked(options).build(options.verbose)?;
    let (end, _) = boot(options, &Guest::asked(options, &image, 1))?;
    verdict(&end)
}

/// Boots a guest with the user at its console.
pub fn boot(options: &Options, guest: &Guest) -> Result<(End, Vec<u8>), Failure> {
    let qemu = guest.command(Input::User);
    command::show(&qemu, options.verbose);
    if options.verbose && io::stdin().is_terminal() && !guest.machine.is_process() {
        complain!("(Ctrl-A X ends QEMU)");
    }
    let patience = Patience {
        silence: options.timeout,
        whole: None,
    };
    Ok(console::run(qemu, patience, |piece| {
        let mut out = io::stdout().lock();
        out.write_all(piece)?;
        out.flush()
    })?)
}

/// The guest's status as this process's.
pub fn verdict(end: &End) -> Result<(), Failure> {
    match end.status() {
        0 => Ok(()),
        status => Err(Failure::with_status(status, end.describe())),
    }
}

/// A size of memory as a person writes it.
pub fn size(mem_kib: u64) -> String {
    match mem_kib {
        kib if kib % (1 << 20) == 0 => format!("{}G", kib >> 20),
        kib if kib % (1 << 10) == 0 => format!("{}M", kib >> 10),
        kib => format!("{kib}K"),
    }
}
