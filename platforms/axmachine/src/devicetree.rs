//! What a device tree says of the machine: an [`Inventory`], and single devices.

use crate::fdt::{Fdt, Node};
use crate::{HartId, Inventory, RawRange, isa};

/// How deep devices are looked for: the root, and the buses right below it.
const BUS_DEPTH: usize = 2;

/// A device tree that lies in memory for as long as the kernel runs.
#[derive(Clone, Copy)]
pub struct DeviceTree {
    fdt: Fdt,
}

impl DeviceTree {
    /// The tree at `blob`, or `None` if what lies there is no device tree.
    ///
    /// # Safety
    ///
    /// `blob` is readable for as many bytes as its header says, and what it
    /// points to never changes.
    pub unsafe fn new(blob: *const u8) -> Option<Self> {
        // SAFETY: the caller's promise is this function's requirement.
        let fdt = unsafe { Fdt::new(blob) }?;
        Some(Self { fdt })
    }

    /// The bytes of the blob itself, to be reserved.
    pub fn size(&self) -> usize {
        self.fdt.size()
    }

    /// The boot loader's words: `/chosen/bootargs`.
    pub fn boot_args(&self) -> &'static str {
        self.string("/chosen", "bootargs").unwrap_or_default()
    }

    /// A property of a node that holds one string.
    pub fn string(&self, path: &str, property: &str) -> Option<&'static str> {
        self.fdt.find(path)?.string(property)
    }

    /// A property of a node that holds one 32-bit number.
    pub fn u32(&self, path: &str, property: &str) -> Option<u32> {
        self.fdt.find(path)?.u32(property)
    }

    /// The physical address of the console's registers: the node that
    /// `/chosen/stdout-path` names, or else the first that is compatible with
    /// `fallback`.
    pub fn console(&self, fallback: &str) -> Option<usize> {
        let path = self.string("/chosen", "stdout-path");
        path.and_then(|path| self.fdt.find(path.split(':').next()?))
            .and_then(|node| node.reg().next().map(|reg| reg.0))
            .or_else(|| self.device(fallback).map(|reg| reg.0))
    }

    /// The first register range of the first device compatible with `name`.
    pub fn device(&self, name: &str) -> Option<RawRange> {
        self.device_reg(name, 0)
    }

    /// The `index`th register range of the first device compatible with `name`.
    pub fn device_reg(&self, name: &str, index: usize) -> Option<RawRange> {
        self.find_device(name)?.reg().nth(index)
    }

    /// The number that property `property` of the first device compatible with
    /// `name` holds.
    pub fn device_u32(&self, name: &str, property: &str) -> Option<u32> {
        self.find_device(name)?.u32(property)
    }

    fn find_device(&self, name: &str) -> Option<Node> {
        find(self.fdt.root()?, BUS_DEPTH, name)
    }

    /// All RAM, reserved ranges, devices and harts; hart 0 is `boot_hart`.
    ///
    /// The blob itself, at physical address `blob`, counts as reserved.
    pub fn inventory(&self, boot_hart: HartId, blob: usize) -> Inventory {
        let mut found = Inventory::new(boot_hart);
        found.reserve(blob, self.size());
        for (start, size) in self.fdt.reservations() {
            found.reserve(start, size);
        }
        if let Some(root) = self.fdt.root() {
            add_below(root, BUS_DEPTH, &mut found);
        }
        found.finish()
    }

    /// The bytes that `cbo.zero` zeroes, a power of two and no more than a page,
    /// if every RISC-V hart that may be used has it, with blocks of one size.
    pub fn zero_block(&self) -> Option<usize> {
        let mut sizes = usable_harts(self.fdt.find("/cpus")?).map(isa::zero_block);
        let size = sizes.next()??;
        sizes.all(|other| other == Some(size)).then_some(size)
    }
}

fn find(node: Node, depth: usize, name: &str) -> Option<Node> {
    if node.is_compatible(name) {
        return Some(node);
    }
    if depth == 0 {
        return None;
    }
    node.children()
        .find_map(|child| find(child, depth - 1, name))
}

/// Adds what the nodes below `node` are. Addresses below a bus are taken as they
/// stand where the bus maps them one to one (an empty `ranges`); other buses are
/// passed over.
fn add_below(node: Node, depth: usize, found: &mut Inventory) {
    for child in node.children() {
        let regs = child.reg();
        match child.base_name() {
            "memory" => regs.for_each(|(start, size)| found.add_ram(start, size)),
            "reserved-memory" => {
                let regs = child.children();
                regs.for_each(|part| {
                    part.reg()
                        .for_each(|(start, size)| found.reserve(start, size))
                });
            }
            "cpus" => add_harts(child, found),
            _ => {
                regs.for_each(|(start, size)| found.add_device(start, size));
                if depth > 1 && child.property("ranges").is_some_and(<[u8]>::is_empty) {
                    add_below(child, depth - 1, found);
                }
            }
        }
    }
}

/// Adds the harts that may be used.
fn add_harts(cpus: Node, found: &mut Inventory) {
    for hart in usable_harts(cpus) {
        hart.reg().take(1).for_each(|(id, _)| found.add_hart(id));
    }
}

/// The harts that may be used: those without a status are.
fn usable_harts(cpus: Node) -> impl Iterator<Item = Node> {
    let harts = cpus.children().filter(|node| node.base_name() == "cpu");
    harts.filter(|node| matches!(node.string("status"), None | Some("okay" | "ok")))
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    /// Writes a tree, token by token.
    #[derive(Default)]
    struct Writer {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Writer {
        fn word(&mut self, word: u32) -> &mut Self {
            self.structure.extend(word.to_be_bytes());
            self
        }

        fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
            self.structure.extend(bytes);
            let padded = self.structure.len().next_multiple_of(4);
            self.structure.resize(padded, 0);
            self
        }

        fn begin(&mut self, name: &str) -> &mut Self {
            self.word(1).bytes(&[name.as_bytes(), b"\0"].concat())
        }

        fn end(&mut self) -> &mut Self {
            self.word(2)
        }

        fn prop(&mut self, name: &str, value: &[u8]) -> &mut Self {
            let offset = self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            self.word(3)
                .word(value.len() as u32)
                .word(offset)
                .bytes(value)
        }

        fn numbers(&mut self, name: &str, words: &[u32]) -> &mut Self {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            self.prop(name, &bytes)
        }

        /// Header, one memory reservation, structure, strings.
        fn finish(&mut self) -> Vec<u8> {
            self.word(9);
            let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
            let total = 72 + structure + strings;
            let header = [
                MAGIC,
                total,
                72,
                72 + structure,
                40,
                17,
                16,
                0,
                strings,
                structure,
            ];
            let reserved = [0, 0x9000_0000, 0, 0x1000, 0, 0, 0, 0];
            let words = header.iter().chain(&reserved);
            let mut blob: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
            blob.extend(&self.structure);
            blob.extend(&self.strings);
            blob
        }
    }

    const MAGIC: u32 = 0xd00d_feed;

    fn machine() -> Vec<u8> {
        let mut w = Writer::default();
        w.begin("")
            .numbers("#address-cells", &[2])
            .numbers("#size-cells", &[2]);
        w.begin("chosen")
            .prop("bootargs", b"seed=7\0")
            .prop("stdout-path", b"/soc/serial@10000000:115200\0")
            .end();
        w.begin("memory@80000000")
            .numbers("reg", &[0, 0x8000_0000, 0, 0x1000_0000])
            .end();
        w.begin("memory@100000000")
            .numbers("reg", &[1, 0, 1, 0])
            .end();
        w.begin("cpus")
            .numbers("#address-cells", &[1])
            .numbers("#size-cells", &[0])
            .numbers("timebase-frequency", &[10_000_000]);
        for (id, status) in [(4, "okay\0"), (9, "disabled\0"), (2, "okay\0")] {
            w.begin("cpu")
                .numbers("reg", &[id])
                .prop("status", status.as_bytes())
                .prop("riscv,isa", b"rv64imac_zicboz\0")
                .numbers("riscv,cboz-block-size", &[64]);
            w.begin("interrupt-controller").end().end();
        }
        w.begin("cpu-map").end().end();
        w.begin("soc")
            .numbers("#address-cells", &[2])
            .numbers("#size-cells", &[2])
            .prop("ranges", b"");
        w.begin("serial@10000000")
            .prop("compatible", b"acme,uart\0ns16550a\0")
            .numbers("reg", &[0, 0x1000_0000, 0, 0x100])
            .end();
        w.end().end();
        w.finish()
    }

    fn tree(blob: Vec<u8>) -> Option<DeviceTree> {
        let blob = Box::leak(blob.into_boxed_slice());
        // SAFETY: a header's worth of bytes is there in every test, and the
        // total size in it is never more than there is; leaked, it stays.
        unsafe { DeviceTree::new(blob.as_ptr()) }
    }

    #[test]
    fn a_machine_is_read_as_it_was_written() {
        let tree = tree(machine()).unwrap();
        assert_eq!(tree.boot_args(), "seed=7");
        assert_eq!(tree.u32("/cpus", "timebase-frequency"), Some(10_000_000));
        assert_eq!(tree.console("none"), Some(0x1000_0000));
        assert_eq!(tree.device("ns16550a"), Some((0x1000_0000, 0x100)));
        assert_eq!(tree.device("ns16550"), None);
        let found = tree.inventory(2, 0x8800_0000);
        assert_eq!(
            found.ram(),
            [(0x8000_0000, 0x1000_0000), (1 << 32, 1 << 32)]
        );
        assert_eq!(
            found.reserved(),
            [(0x8800_0000, 0x1000), (0x9000_0000, 0x1000)]
        );
        assert_eq!(found.devices(), [(0x1000_0000, 0x1000)]);
        assert_eq!(found.harts(), [2, 4]);
        assert_eq!(tree.zero_block(), Some(64));
    }

    /// A hart by the properties that tell of `cbo.zero`.
    fn risc_v_hart(w: &mut Writer, status: &str, isa: (&str, &str), block: u32) {
        w.begin("cpu").prop("status", status.as_bytes());
        w.prop(isa.0, isa.1.as_bytes());
        w.numbers("riscv,cboz-block-size", &[block]).end();
    }

    fn zero_block(harts: &[(&str, (&str, &str), u32)]) -> Option<usize> {
        let mut w = Writer::default();
        w.begin("").begin("cpus");
        for &(status, isa, block) in harts {
            risc_v_hart(&mut w, status, isa, block);
        }
        w.end().end();
        tree(w.finish())?.zero_block()
    }

    #[test]
    fn a_block_is_zeroed_only_where_every_usable_hart_zeroes_it_alike() {
        const LIST: (&str, &str) = ("riscv,isa-extensions", "i\0m\0zicboz\0sstc\0");
        const SHORT_LIST: (&str, &str) = ("riscv,isa-extensions", "i\0zicbom\0");
        const STRING: (&str, &str) = ("riscv,isa", "rv64imafdc_zicbom_zicboz\0");
        const SHORT_STRING: (&str, &str) = ("riscv,isa", "rv64imafdc_zicbom\0");
        let ok = "okay\0";
        assert_eq!(zero_block(&[(ok, LIST, 64), (ok, STRING, 64)]), Some(64));
        assert_eq!(zero_block(&[(ok, STRING, 4096)]), Some(4096));
        let asleep = ("disabled\0", SHORT_LIST, 64);
        assert_eq!(zero_block(&[(ok, LIST, 128), asleep]), Some(128));

        assert_eq!(zero_block(&[]), None);
        assert_eq!(zero_block(&[asleep]), None);
        assert_eq!(zero_block(&[(ok, LIST, 64), (ok, SHORT_LIST, 64)]), None);
        assert_eq!(zero_block(&[(ok, SHORT_STRING, 64)]), None);
        assert_eq!(zero_block(&[(ok, LIST, 64), (ok, LIST, 128)]), None);
        for unusable in [0, 48, 8192] {
            assert_eq!(zero_block(&[(ok, LIST, unusable)]), None);
        }
    }

    /// Whatever a byte is changed to, what is read is read from the blob, and
    /// nothing panics.
    #[test]
    fn a_damaged_tree_is_read_without_a_panic() {
        let blob = machine();
        for index in 8..blob.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut damaged = blob.clone();
                damaged[index] = value;
                if let Some(tree) = tree(damaged) {
                    tree.inventory(0, 0);
                    tree.console("ns16550a");
                    tree.boot_args();
                    tree.zero_block();
                }
            }
        }
        let mut other = blob;
        other[0] = 0;
        assert!(tree(other).is_none());
    }
}
