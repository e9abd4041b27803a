//! The four machines: all that the rest of this tool knows about each is in its
//! row here.

use std::fmt;

/// What QEMU is given to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// The flat binary, loaded at the address its header or the firmware names.
    Flat,
    /// The ELF file, loaded segment by segment.
    Elf,
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
    /// What QEMU boots.
    pub boots: Boots,
    /// Whether QEMU hands the kernel a device tree from outside (`-dtb`).
    pub takes_device_tree: bool,
    /// The least memory, in MiB, that the machine boots with.
    pub least_mib: u64,
    /// The most memory, in MiB, that QEMU's machine takes.
    pub most_mib: u64,
    /// Bytes of ArceOS's hello world on this machine: the image to halve.
    pub arceos_bytes: u64,
}

/// The most harts an image counts: each is one bit of a word in the kernel.
pub const MOST_HARTS: u32 = 64;

/// The machines, the default one first.
pub static MACHINES: [Machine; 4] = [
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
];

impl Machine {
    /// The machine that a value of `ARCH` names.
    pub fn named(arch: &str) -> Option<&'static Machine> {
        MACHINES.iter().find(|machine| machine.arch == arch)
    }

    /// The values that `ARCH` can take, for a message.
    pub fn names() -> String {
        MACHINES.each_ref().map(|machine| machine.arch).join(", ")
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
