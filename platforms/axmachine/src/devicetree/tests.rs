use std::boxed::Box;
use std::vec::Vec;

use super::*;

/// A writer of device trees, token by token.
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

    /// Returns the blob: header, one memory reservation, structure block, strings block.
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
        let reserved = [0, 0x8fff_f000, 0, 0x1000, 0, 0, 0, 0];
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
    // SAFETY: each test's blob is longer than a header. No test makes the total size in the
    // header larger than the blob, which is leaked and so never freed.
    unsafe { DeviceTree::new(blob.as_ptr()) }
}

#[test]
fn a_tree_is_read_as_it_was_written() {
    let tree = tree(machine()).unwrap();
    assert_eq!(tree.boot_args(), "seed=7");
    assert_eq!(tree.u32("/cpus", "timebase-frequency"), Some(10_000_000));
    assert_eq!(tree.string("/chosen", "bootargs"), Some(&b"seed=7"[..]));
    assert_eq!(tree.console("none"), Some(0x1000_0000));
    assert_eq!(tree.device("ns16550a"), Some((0x1000_0000, 0x100)));
    assert_eq!(tree.device("ns16550"), None);
    let found = tree.inventory(2, 0x8800_0000, &[]);
    assert_eq!(
        found.ram(),
        [(0x8000_0000, 0x1000_0000), (1 << 32, 1 << 32)]
    );
    assert_eq!(
        found.reserved(),
        [(0x8800_0000, 0x1000), (0x8fff_f000, 0x1000)]
    );
    assert_eq!(found.mapped_reserved(), [(0x8800_0000, 0x1000)]);
    assert_eq!(found.devices(), [(0x1000_0000, 0x1000)]);
    assert_eq!(found.harts(), [2, 4]);
    assert_eq!(tree.zero_block(), Some(64));
}

/// Writes a hart with the properties that describe `cbo.zero`.
fn riscv_hart(w: &mut Writer, status: &str, isa: (&str, &str), block: u32) {
    w.begin("cpu").prop("status", status.as_bytes());
    w.prop(isa.0, isa.1.as_bytes());
    w.numbers("riscv,cboz-block-size", &[block]).end();
}

fn zero_block(harts: &[(&str, (&str, &str), u32)]) -> Option<usize> {
    let mut w = Writer::default();
    w.begin("").begin("cpus");
    for &(status, isa, block) in harts {
        riscv_hart(&mut w, status, isa, block);
    }
    w.end().end();
    tree(w.finish())?.zero_block()
}

#[test]
fn cbo_zero_is_used_only_if_every_usable_hart_has_the_same_block_size() {
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

/// Each byte of a tree is changed to several values. Every read must stay inside the blob,
/// and nothing may panic.
#[test]
fn a_damaged_tree_is_read_without_a_panic() {
    let blob = machine();
    for index in 8..blob.len() {
        for value in [0, 1, 3, 0x7f, 0xff] {
            let mut damaged = blob.clone();
            damaged[index] = value;
            if let Some(tree) = tree(damaged) {
                tree.inventory(0, 0, &["ns16550a"]);
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

/// Returns the inventory of a tree whose nodes `nodes` writes. The root has
/// `#address-cells` and `#size-cells` of 2.
fn inventory(nodes: impl FnOnce(&mut Writer)) -> Inventory {
    let mut w = Writer::default();
    w.begin("")
        .numbers("#address-cells", &[2])
        .numbers("#size-cells", &[2]);
    nodes(&mut w);
    w.end();
    let tree = tree(w.finish()).unwrap();
    tree.inventory(0, 0x8000_0000, &["ns16550a", "acme,power"])
}

/// Writes a node with one register range, and with one more property if that has a name.
fn node(w: &mut Writer, name: &str, reg: (u32, u32), property: (&str, &str)) {
    w.begin(name).numbers("reg", &[0, reg.0, 0, reg.1]);
    if !property.0.is_empty() {
        w.prop(property.0, property.1.as_bytes());
    }
    w.end();
}

#[test]
fn only_usable_memory_is_added() {
    const NONE: (&str, &str) = ("", "");
    let found = inventory(|w| {
        node(w, "memory@80000000", (0x8000_0000, 0x100_0000), NONE);
        node(
            w,
            "memory@1",
            (0x9000_0000, 0x100_0000),
            ("status", "disabled\0"),
        );
        node(
            w,
            "memory@2",
            (0xa000_0000, 0x100_0000),
            ("status", "fail-ecc\0"),
        );
        node(
            w,
            "memory@3",
            (0xb000_0000, 0x100_0000),
            ("hotpluggable", ""),
        );
        node(
            w,
            "memory@4",
            (0xc000_0000, 0x100_0000),
            ("status", "okay\0"),
        );
        w.begin("memory@5")
            .numbers("reg", &[0, 0xd000_0000, 0, 0x100_0000])
            .numbers("linux,usable-memory", &[0, 0xd080_0000, 0, 0x10_0000])
            .end();
    });
    let ram = [
        (0x8000_0000, 0x100_0000),
        (0xc000_0000, 0x100_0000),
        (0xd080_0000, 0x10_0000),
    ];
    assert_eq!(found.ram(), ram);
}

/// The reserved ranges stand before the memory nodes. One reaches over a hole in RAM, and
/// one is outside RAM.
#[test]
fn reserved_memory_is_found_before_the_memory_nodes() {
    let found = inventory(|w| {
        w.begin("reserved-memory")
            .numbers("#address-cells", &[2])
            .numbers("#size-cells", &[2])
            .prop("ranges", b"");
        node(w, "a@80100000", (0x8010_0000, 0x1000), ("no-map", ""));
        node(w, "b@80200000", (0x8020_0000, 0x1000), ("reusable", ""));
        node(
            w,
            "c@80300000",
            (0x8030_0000, 0x1000),
            ("status", "disabled\0"),
        );
        node(w, "d@80f00000", (0x80f0_0000, 0x1000_0000), ("", ""));
        node(w, "e@f0000000", (0xf000_0000, 0x1000), ("", ""));
        // The kernel would choose the address for a driver, which it does not have.
        w.begin("f").numbers("size", &[0, 0x10_0000]).end();
        w.end();
        node(w, "memory@80000000", (0x8000_0000, 0x100_0000), ("", ""));
        node(w, "memory@90000000", (0x9000_0000, 0x100_0000), ("", ""));
    });
    let reserved = [
        (0x8000_0000, 0x1000),
        (0x8010_0000, 0x1000),
        (0x8020_0000, 0x1000),
        (0x80f0_0000, 0x1000_0000),
    ];
    assert_eq!(found.reserved(), reserved);
    // Only the tree itself is mapped.
    assert_eq!(found.mapped_reserved(), [(0x8000_0000, 0x1000)]);
}

/// More devices than fit in the list stand in the tree before those that the kernel uses.
#[test]
fn the_devices_that_the_kernel_uses_are_in_a_full_list() {
    let found = inventory(|w| {
        for n in 0..100 {
            let base = 0x1000_0000 + n * 0x1_0000;
            node(w, &format!("a@{base:x}"), (base, 0x1000), ("", ""));
        }
        w.begin("soc")
            .numbers("#address-cells", &[2])
            .numbers("#size-cells", &[2])
            .prop("ranges", b"");
        let console = ("compatible", "ns16550a\0");
        node(
            w,
            "serial@1",
            (0x3000_0000, 0x100),
            ("status", "disabled\0"),
        );
        node(w, "serial@2", (0x4000_0000, 0x100), console);
        node(
            w,
            "power@5",
            (0x5000_0000, 0x100),
            ("compatible", "acme,power\0"),
        );
        w.end();
    });
    let has = |at| found.devices().contains(&(at, 0x1000));
    assert!(has(0x4000_0000) && has(0x5000_0000) && !has(0x3000_0000));
    assert_eq!(found.devices().len(), 64);
    let (listed, more) = found.ignored();
    assert_eq!(listed.len() + more, 38);
}

#[test]
fn a_disabled_console_is_skipped() {
    let mut w = Writer::default();
    w.begin("")
        .numbers("#address-cells", &[2])
        .numbers("#size-cells", &[2]);
    for (base, status) in [(0x1000_0000, "disabled\0"), (0x2000_0000, "okay\0")] {
        w.begin("serial")
            .prop("compatible", b"ns16550a\0")
            .prop("status", status.as_bytes())
            .numbers("reg", &[0, base, 0, 0x100])
            .end();
    }
    w.end();
    assert_eq!(
        tree(w.finish()).unwrap().console("ns16550a"),
        Some(0x2000_0000)
    );
}

#[test]
fn a_hart_without_an_mmu_is_skipped() {
    let found = inventory(|w| {
        w.begin("cpus")
            .numbers("#address-cells", &[1])
            .numbers("#size-cells", &[0]);
        for (id, mmu) in [
            (0, "riscv,sv39\0"),
            (1, "riscv,none\0"),
            (2, "riscv,sv48\0"),
        ] {
            w.begin("cpu")
                .numbers("reg", &[id])
                .prop("mmu-type", mmu.as_bytes())
                .end();
        }
        w.end();
    });
    assert_eq!(found.harts(), [0, 2]);
}
