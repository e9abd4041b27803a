//! The machines, a process of this computer among them: all that the rest of this tool knows about each is in its
//! row here.

use std::fmt;

/// What is booted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// By QEMU the flat binary, loaded at the address its header or the firmware names.
    Flat,
    /// By QEMU the ELF file, loaded segment by segment.
    Elf,
    /// By Linux the ELF file, as a process.
    Process,
}

/// One machine that an image can be built for.
#[derive(Debug)]
pub struct Machine {
    /// The value of `ARCH`.
    pub arch: &'static str,
    /// The crate under `platforms/`.
    pub platform: &'static str,
    /// The target as rustc names it.
    pub target: &'static str,
    /// Flags for rustc beyond those that every machine has.
    pub rustflags: &'static [&'static str],
    /// QEMU's arguments that make the machine.
    pub qemu: &'static [&'static str],
    /// The CPU model under emulation.
    pub cpu: &'static str,
    /// The architecture as gdb names it.
    pub gdb: &'static str,
    /// What is booted, and by whom.
    pub boots: Boots,
    /// Whether QEMU hands the kernel a device tree from outside (`-dtb`).
    pub takes_device_tree: bool,
    /// The least memory, in MiB, that the machine boots with.
    pub least_mib: u64,
    /// The most memory, in MiB, that the machine takes.
    pub most_mib: u64,
    /// Bytes of ArceOS's hello world on this machine: the image to halve. It knows no
    /// process.
    pub arceos_bytes: u64,
}

/// The most harts an image counts: each is one bit of a word in the kernel.
pub const MOST_HARTS: u32 = 64;

/// The machines, the default one first.
pub static MACHINES: [Machine; 5] = [
    Machine {
        arch: "riscv64",
        platform: "riscv64-qemu-virt",
        target: "riscv64gc-unknown-none-elf",
        rustflags: &["-Crelocation-model=static"],
        qemu: &["-M", "virt", "-bios", "default"],
        cpu: "rv64",
        gdb: "riscv:rv64",
        boots: Boots::Flat,
        takes_device_tree: true,
        least_mib: 32,
        most_mib: 256 << 10,
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
        boots: Boots::Elf,
        takes_device_tree: false,
        least_mib: 32,
        most_mib: 256 << 10,
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
        boots: Boots::Flat,
        takes_device_tree: true,
        least_mib: 32,
        most_mib: 255 << 10,
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
        boots: Boots::Elf,
        takes_device_tree: false,
        least_mib: 64,
        most_mib: 256 << 10,
        arceos_bytes: 86_272,
    },
    Machine {
        arch: "host",
        platform: "linux-host",
        target: "x86_64-unknown-linux-gnu",
        rustflags: &[
            // Per-hart data is reached by 32-bit addresses.
            "-Crelocation-model=static",
            // libc's own start would call the application's `main`.
            "-Clink-arg=-Wl,--entry=process_start",
            // Nothing unwinds; Rust's library, as it comes, could.
            "-Clink-arg=-Wl,--defsym=rust_eh_personality=0,--defsym=_Unwind_Resume=0",
        ],
        qemu: &[],
        cpu: "",
        gdb: "i386:x86-64",
        boots: Boots::Process,
        takes_device_tree: false,
        least_mib: 32,
        most_mib: 256 << 10,
        arceos_bytes: 0,
    },
];

/// The applications that count instructions, which only an emulator can.
const COUNTS: [&str; 2] = ["mmbench", "irqbench"];

impl Machine {
    /// The machine that a value of `ARCH` names.
    pub fn named(arch: &str) -> Option<&'static Machine> {
        Self::all().find(|machine| machine.arch == arch)
    }

    /// The machines that there are on this computer.
    pub fn all() -> impl Iterator<Item = &'static Machine> {
        MACHINES.iter().filter(|machine| machine.is_here())
    }

    /// The values that `ARCH` can take, for a message.
    pub fn names() -> String {
        Self::all()
            .map(|machine| machine.arch)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Whether it is a process of this computer, and not QEMU's.
    pub fn is_process(&self) -> bool {
        self.boots == Boots::Process
    }

    /// Whether this computer can run it: QEMU's everywhere, a process where Linux runs
    /// on the CPU that it is compiled for.
    fn is_here(&self) -> bool {
        !self.is_process() || cfg!(all(target_os = "linux", target_arch = "x86_64"))
    }

    /// Whether the application of this name can be built for it.
    pub fn takes(&self, app: &str) -> bool {
        !self.is_process() || !COUNTS.contains(&app)
    }

    /// Whether this computer's own CPU is of the machine's architecture, so that
    /// KVM can run it.
    pub fn is_native(&self) -> bool {
        self.arch == std::env::consts::ARCH
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arch)
    }
}
