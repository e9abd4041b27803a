//! The machines that an image can be built for: four of QEMU's, and a Linux process. All
//! that xtask knows of a machine is in its row of [`MACHINES`].

use std::fmt;

/// How a machine boots an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMethod {
    /// QEMU loads the flat binary at the address that its header or the firmware names.
    Flat,
    /// QEMU loads the ELF file segment by segment.
    Elf,
    /// Linux runs the ELF file as a process.
    Process,
}

/// One machine that an image can be built for.
#[derive(Debug)]
pub struct Machine {
    /// The value of `ARCH`.
    pub arch: &'static str,
    /// The machine's crate in `platforms/`.
    pub platform: &'static str,
    /// The target as rustc names it.
    pub target: &'static str,
    /// Flags for rustc beside those that all machines have.
    pub rustflags: &'static [&'static str],
    /// QEMU's arguments that select the machine.
    pub qemu: &'static [&'static str],
    /// The CPU model under emulation.
    pub cpu: &'static str,
    /// The architecture as gdb names it.
    pub gdb: &'static str,
    /// How the machine boots an image.
    pub boot_method: BootMethod,
    /// Whether QEMU can pass the kernel a device tree from a file (`-dtb`).
    pub takes_device_tree: bool,
    /// The smallest memory, in MiB, that the machine boots with.
    pub min_mib: u64,
    /// The largest memory, in MiB, that the machine takes.
    pub max_mib: u64,
    /// The size of ArceOS's hello world on this machine, in bytes. The goal for ours is half
    /// of that. 0 for the process, for which ArceOS has no platform.
    pub arceos_bytes: u64,
}

/// The largest number of harts that an image supports: each hart is one bit of a word in
/// the kernel.
pub const MAX_HARTS: u32 = 64;

/// All machines, the default one first.
pub static MACHINES: [Machine; 5] = [
    Machine {
        arch: "riscv64",
        platform: "riscv64-qemu-virt",
        target: "riscv64gc-unknown-none-elf",
        rustflags: &["-Crelocation-model=static"],
        qemu: &["-M", "virt", "-bios", "default"],
        cpu: "rv64",
        gdb: "riscv:rv64",
        boot_method: BootMethod::Flat,
        takes_device_tree: true,
        min_mib: 32,
        max_mib: 256 << 10,
        arceos_bytes: 53_504,
    },
    Machine {
        arch: "x86_64",
        platform: "x86_64-pc",
        target: "x86_64-unknown-none",
        // The target's own relocation model (pic): its code is position
        // independent at no cost, and `static` would need the large code model.
        rustflags: &[],
        qemu: &[
            "-M",
            "q35",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ],
        cpu: "max",
        gdb: "i386:x86-64",
        boot_method: BootMethod::Elf,
        takes_device_tree: false,
        min_mib: 32,
        max_mib: 256 << 10,
        arceos_bytes: 98_944,
    },
    Machine {
        arch: "aarch64",
        platform: "aarch64-qemu-virt",
        target: "aarch64-unknown-none-softfloat",
        rustflags: &["-Crelocation-model=static"],
        qemu: &["-M", "virt,gic-version=3"],
        cpu: "cortex-a72",
        gdb: "aarch64",
        boot_method: BootMethod::Flat,
        takes_device_tree: true,
        min_mib: 32,
        max_mib: 255 << 10,
        arceos_bytes: 65_792,
    },
    Machine {
        arch: "loongarch64",
        platform: "loongarch64-qemu-virt",
        target: "loongarch64-unknown-none-softfloat",
        rustflags: &["-Crelocation-model=static"],
        qemu: &["-M", "virt"],
        cpu: "la464",
        gdb: "Loongarch64",
        boot_method: BootMethod::Elf,
        takes_device_tree: false,
        min_mib: 64,
        max_mib: 256 << 10,
        arceos_bytes: 86_272,
    },
    Machine {
        arch: "host",
        platform: "linux-host",
        target: "x86_64-unknown-linux-gnu",
        rustflags: &[
            // The code reaches per-hart data by 32-bit addresses.
            "-Crelocation-model=static",
            // libc's own entry would call the application's `main` before the kernel has
            // started.
            "-Clink-arg=-Wl,--entry=process_start",
            // The precompiled library refers to the unwinder. Panics abort, so it is never
            // called.
            "-Clink-arg=-Wl,--defsym=rust_eh_personality=0,--defsym=_Unwind_Resume=0",
        ],
        qemu: &[],
        cpu: "",
        gdb: "i386:x86-64",
        boot_method: BootMethod::Process,
        takes_device_tree: false,
        min_mib: 32,
        max_mib: 256 << 10,
        arceos_bytes: 0,
    },
];

/// The applications that count instructions. Only an emulator can count them.
const COUNTING_APPS: [&str; 2] = ["mmbench", "irqbench"];

/// The applications that run user programs. A Linux process has no user mode.
const USER_MODE_APPS: [&str; 1] = ["tutorial"];

impl Machine {
    /// Returns the machine that a value of `ARCH` names, if this computer can run it.
    pub fn named(arch: &str) -> Option<&'static Machine> {
        Self::all().find(|machine| machine.arch == arch)
    }

    /// Returns the machines that this computer can run.
    pub fn all() -> impl Iterator<Item = &'static Machine> {
        MACHINES.iter().filter(|machine| machine.is_available())
    }

    /// Returns the valid values of `ARCH`, for a message.
    pub fn names() -> String {
        Self::all()
            .map(|machine| machine.arch)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Returns whether the machine is a Linux process, instead of one of QEMU's.
    pub fn is_process(&self) -> bool {
        self.boot_method == BootMethod::Process
    }

    /// Returns whether this computer can run the machine. The process needs Linux on the
    /// CPU that it is compiled for.
    fn is_available(&self) -> bool {
        !self.is_process() || cfg!(all(target_os = "linux", target_arch = "x86_64"))
    }

    /// Returns whether the application of this name runs on the machine.
    pub fn supports_app(&self, app: &str) -> bool {
        let needs_machine = COUNTING_APPS.contains(&app) || USER_MODE_APPS.contains(&app);
        !self.is_process() || !needs_machine
    }

    /// Returns whether this computer's CPU has the machine's architecture, as KVM requires.
    pub fn is_native(&self) -> bool {
        self.arch == std::env::consts::ARCH
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arch)
    }
}
