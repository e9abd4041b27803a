//! The test cases of unusual machines: CPUs without a feature that the kernel needs, device
//! trees with many devices or reserved memory, more memory than the kernel maps, and boot
//! arguments that are too long.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::device_tree::{Node, Tree};
use crate::files;
use crate::image::Image;
use crate::manifest::root;
use crate::options::Options;
use crate::qemu;

use super::boots::{Boot, Judge, PANICKED, app_case, passes};

/// CPUs without a feature that the kernel needs: machine, QEMU's CPU model, and the name of
/// the feature in the kernel's message. All of QEMU's aarch64 models have what is needed.
const LACKING: [(&str, &str, &str); 8] = [
    ("riscv64", "rv64,d=false", "D (floating point)"),
    ("riscv64", "rv64,sv39=off", "Sv39 (paging)"),
    ("x86_64", "max,-nx", "NX (execute disable)"),
    ("x86_64", "max,-apic", "APIC"),
    ("x86_64", "max,-cmov", "CMOV"),
    ("x86_64", "max,-lm", "LM (long mode, 64 bits)"),
    ("x86_64", "pentium3", "LM (long mode, 64 bits)"),
    ("loongarch64", "la132", "LA64 (64 bits)"),
];

/// Memory sizes in GiB of which the kernel maps only a part (riscv64). 256 is the largest
/// `MEM`. The firmware puts the device tree at the end of RAM, so here the kernel must copy it
/// to memory that it maps.
const BEYOND_GIB: [u64; 2] = [127, 256];

/// How much RAM the kernel maps on riscv64, in GiB: from 2 GiB, where RAM begins, to 128 GiB.
const MAPPED_GIB: u64 = 126;

/// The length of boot arguments that no loader has room for, in bytes.
const LONG: usize = 6000;

const MIB: u64 = 1 << 20;

/// Returns the cases that boot helloworld: CPUs without a needed feature, and boot arguments
/// that are too long.
pub fn helloworld_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let machine = image.machine;
    let lacking = LACKING.iter().filter(|(arch, ..)| *arch == machine.arch);
    let mut cases: Vec<Boot> = lacking
        .map(|(_, cpu, name)| lacking_case(options, image, cpu, name))
        .collect();
    cases.push(long_case(options, image));
    cases
}

/// A case of boot arguments that no loader has room for. The kernel must boot. On loongarch64
/// it must also print that it ignores the end of them.
fn long_case(options: &Options, image: &Image) -> Boot {
    let machine = image.machine;
    let mut boot = case(options, "helloworld", image);
    boot.name = format!("long boot arguments {machine}");
    boot.guest.boot_args = vec!["word".repeat(LONG / 4)];
    let said = match machine.arch {
        "loongarch64" => "left alone: boot arguments beyond 511 bytes",
        _ => "",
    };
    boot.judge = passes_and_holds("Hello, world!", said.to_owned());
    boot
}

/// Returns the case that boots tasktest with a clock that ticks at 1 GHz, which aarch64 has with
/// `-cpu max`. Empty on the other machines.
pub fn tasktest_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let mut fast = case(options, "tasktest", image);
    fast.name = format!("tasktest {} -cpu max", image.machine);
    fast.guest.extra = ["-cpu", "max"].map(str::to_owned).to_vec();
    match image.machine.arch {
        "aarch64" => vec![fast],
        _ => Vec::new(),
    }
}

/// Returns the cases that boot `apps/machine`, which prints what the kernel found out about
/// the machine.
pub fn machine_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let mut cases = vec![case(options, "machine", image)];
    if image.machine.takes_device_tree {
        let boot = || case(options, "machine", image);
        cases.push(tree_case(boot(), "crowded", LIST_IS_FULL, add_devices));
        cases.push(tree_case(boot(), "forbidding", "", reserve_memory));
    }
    if image.machine.arch == "aarch64" {
        let boot = app_case(options, "machine", image, 2, qemu::DEFAULT_MEM_KIB);
        cases.push(tree_case(boot, "regions", "", split_regions));
    }
    if image.machine.arch == "riscv64" {
        cases.extend(BEYOND_GIB.map(|gib| beyond_case(options, image, gib)));
    }
    cases
}

/// An application on a machine of one hart and the default memory.
fn case(options: &Options, app: &str, image: &Image) -> Boot {
    app_case(options, app, image, 1, qemu::DEFAULT_MEM_KIB)
}

/// A case of a CPU without a needed feature. The kernel must name it and panic.
fn lacking_case(options: &Options, image: &Image, cpu: &str, name: &'static str) -> Boot {
    let machine = image.machine;
    let mut boot = case(options, "helloworld", image);
    boot.name = format!("-cpu {cpu} {machine}");
    boot.guest.extra = vec!["-cpu".to_owned(), cpu.to_owned()];
    let wanted = format!("this CPU has no {name}: {machine} needs it");
    boot.judge = Box::new(move |end, console| match end.status() {
        PANICKED if console.contains(&wanted) => Ok(wanted.clone()),
        _ => Err(format!(
            "{}; expected status {PANICKED} and the text {wanted:?}",
            end.describe()
        )),
    });
    boot
}

/// A case of more RAM than the kernel maps. The kernel must name the rest, and boot.
fn beyond_case(options: &Options, image: &Image, gib: u64) -> Boot {
    let mut boot = case(options, "machine", image);
    boot.name = format!("machine {} MEM={gib}G", image.machine);
    boot.guest.mem_kib = gib << 20;
    let bytes = (gib - MAPPED_GIB) << 30;
    let named = format!("left alone: RAM beyond what the kernel maps at 0x2000000000, {bytes:#x}");
    boot.judge = passes_and_holds("PASS ", named);
    boot
}

/// Returns a check that the application passes, by a line that begins with `beginning`, and
/// that the console holds `wanted`.
fn passes_and_holds(beginning: &'static str, wanted: String) -> Judge {
    Box::new(move |end, console| match console.contains(&wanted) {
        true => passes(end, console, beginning),
        false => Err(format!("{}; expected the text {wanted:?}", end.describe())),
    })
}

/// What the kernel prints for a device of [`add_devices`] when its list of devices is full. The
/// rest of the address follows.
const LIST_IS_FULL: &str = "left alone: a device for which the list is full at 0x10";

/// A boot with a changed device tree. The application must pass, and the console must hold
/// `said`. `change` gets the tree and the first address of RAM.
fn tree_case(mut boot: Boot, name: &str, said: &str, change: fn(&mut Tree, u64)) -> Boot {
    boot.name = format!("{name} device tree {}", boot.guest.machine);
    let judge = passes_and_holds("PASS ", said.to_owned());
    let written = changed_tree(&boot, name, change);
    if let Ok(path) = &written {
        let path = path.display().to_string();
        boot.guest.extra = vec!["-dtb".to_owned(), path];
    }
    let written = written.map(drop).map_err(|error| format!("{error:#}"));
    boot.judge = Box::new(move |end, console| {
        written.clone()?;
        judge(end, console)
    });
    boot
}

/// Writes the changed device tree of a boot, and returns the file's path.
fn changed_tree(boot: &Boot, name: &str, change: fn(&mut Tree, u64)) -> Result<PathBuf> {
    let file = format!("target/test/{name}-{}.dtb", boot.guest.machine);
    let path = root().join(file);
    let mut tree = Tree::of(&boot.guest, &path)?;
    let memory = tree.root.child("memory");
    let reg = memory.properties.iter().find(|(name, _)| name == "reg");
    let start = reg.and_then(|(_, reg)| reg.first_chunk().copied());
    let start = u64::from_be_bytes(start.context("the device tree has no memory")?);
    change(&mut tree, start);
    files::write(&path, tree.write())?;
    Ok(path)
}

/// Adds a hundred devices before those that the kernel uses.
fn add_devices(tree: &mut Tree, _ram: u64) {
    const FIRST: u64 = 0x10_0000_0000;
    let devices = (0..100).map(|n| FIRST + n * 0x1_0000);
    let nodes = devices.map(|at| Node::new(&format!("extra@{at:x}")).with_reg(&[at, 0x1000]));
    tree.root.children.splice(0..0, nodes.collect::<Vec<_>>());
}

/// Gives the interrupt controller of aarch64 one region for each hart's redistributor, in
/// reverse order, instead of one region for all.
fn split_regions(tree: &mut Tree, _ram: u64) {
    const DISTRIBUTOR: [u64; 2] = [0x800_0000, 0x1_0000];
    const FIRST: [u64; 2] = [0x80a_0000, 0x2_0000];
    const SECOND: [u64; 2] = [0x80c_0000, 0x2_0000];
    let reg = [DISTRIBUTOR, SECOND, FIRST].concat();
    let controller = tree.root.child("intc");
    *controller = controller.clone().with_reg(&reg);
    controller.set("#redistributor-regions", &2_u32.to_be_bytes());
}

/// Reserves memory in all the ways that a device tree has:
///
/// - forty reserved ranges, every other one `no-map`,
/// - a reserved range that is disabled, one that ends beyond RAM, and one across the hole from
///   56 to 64 MiB, which is RAM where there is no hole,
/// - an entry of the memory reservation block,
/// - memory nodes with a hole between them, one of which is disabled and one is hotpluggable.
///   On aarch64 QEMU writes the memory nodes itself, so they are unchanged there.
///
/// The boot arguments list addresses that the kernel must have mapped, and others that it
/// must not.
fn reserve_memory(tree: &mut Tree, ram: u64) {
    let mib = |mib: u64| ram + (mib << 20);
    let ordinary_ram = [mib(67), mib(113)];
    let (mut mapped, mut unmapped) = (ordinary_ram.to_vec(), Vec::new());
    reserve_ranges(tree, ram, &mut mapped, &mut unmapped);
    tree.reservations.push((mib(40), 0x3000));
    unmapped.push(mib(40));
    let can_replace_memory_nodes = ram == RISCV64_RAM;
    if can_replace_memory_nodes {
        replace_memory_nodes(tree, ram);
        let disabled = [mib(96), mib(100)];
        let hotpluggable = [mib(104), mib(111)];
        unmapped.extend(disabled.into_iter().chain(hotpluggable));
    }
    let list = |addresses: &[u64]| {
        let words: Vec<String> = addresses.iter().map(|at| format!("{at:#x}")).collect();
        words.join(",")
    };
    let words = format!("mapped={} unmapped={}\0", list(&mapped), list(&unmapped));
    tree.root.child("chosen").set("bootargs", words.as_bytes());
}

/// The first address of RAM on riscv64.
const RISCV64_RAM: u64 = 0x8000_0000;

/// A node for a range of memory.
fn range_node(name: &str, start: u64, size: u64) -> Node {
    Node::new(&format!("{name}@{start:x}")).with_reg(&[start, size])
}

/// Adds the reserved ranges, and addresses in them and beside them to the lists.
fn reserve_ranges(tree: &mut Tree, ram: u64, mapped: &mut Vec<u64>, unmapped: &mut Vec<u64>) {
    let at = |kib: u64| ram + (kib << 10);
    let mib = |mib: u64| at(mib << 10);
    let reserved = tree.root.child("reserved-memory");
    reserved.set("#address-cells", &2_u32.to_be_bytes());
    reserved.set("#size-cells", &2_u32.to_be_bytes());
    reserved.set("ranges", &[]);
    for n in 0..40 {
        let start = at((16 << 10) + n * 512);
        let forbidden = range_node("firmware", start, 0x1000);
        reserved.children.push(match n % 2 {
            0 => forbidden.with("no-map", &[]),
            _ => forbidden,
        });
        unmapped.push(start);
        mapped.push(start + 0x1000);
    }
    let off = range_node("off", mib(48), 0x1000).with("status", b"disabled\0");
    let across = range_node("across", mib(55), 11 * MIB);
    let beyond = range_node("beyond", at((127 << 10) + 512), 64 * MIB);
    reserved.children.extend([off, across, beyond]);
    mapped.push(mib(48));
    unmapped.extend([mib(55), mib(57), mib(65), at((127 << 10) + 512)]);
}

/// Replaces the memory nodes by five with a hole from 56 to 64 MiB.
fn replace_memory_nodes(tree: &mut Tree, ram: u64) {
    let memory = |first: u64, end: u64| {
        let node = range_node("memory", ram + first * MIB, (end - first) * MIB);
        node.with("device_type", b"memory\0")
    };
    let is_memory = |node: &Node| node.name.starts_with("memory@");
    tree.root.children.retain(|node| !is_memory(node));
    tree.root.children.extend([
        memory(0, 56),
        memory(64, 96),
        memory(96, 104).with("status", b"disabled\0"),
        memory(104, 112).with("hotpluggable", &[]),
        memory(112, 128),
    ]);
}
