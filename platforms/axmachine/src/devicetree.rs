//! What a device tree says of the machine: an [`Inventory`], and single devices.

use crate::fdt::{Fdt, Node, up_to};
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
    #[inline(never)]
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
        let words = self.string("/chosen", "bootargs").unwrap_or_default();
        core::str::from_utf8(words).unwrap_or_default()
    }

    /// A property of a node that holds one string.
    pub fn string(&self, path: &str, property: &str) -> Option<&'static [u8]> {
        self.fdt.find(path.as_bytes())?.string(property)
    }

    /// A property of a node that holds one 32-bit number.
    pub fn u32(&self, path: &str, property: &str) -> Option<u32> {
        self.fdt.find(path.as_bytes())?.u32(property)
    }

    /// The registers of the console: the node that `/chosen/stdout-path` names, or
    /// else the first that is compatible with `fallback`.
    #[inline(never)]
    fn console_reg(&self, fallback: &str) -> Option<RawRange> {
        let path = self.string("/chosen", "stdout-path");
        path.and_then(|path| self.fdt.find(up_to(path, b':')))
            .and_then(|node| node.reg(0))
            .or_else(|| self.device(fallback))
    }

    /// The physical address of the console's registers: see
    /// [`console_reg`](Self::console_reg).
    pub fn console(&self, fallback: &str) -> Option<usize> {
        self.console_reg(fallback).map(|reg| reg.0)
    }

    /// The first register range of the first device compatible with `name`.
    pub fn device(&self, name: &str) -> Option<RawRange> {
        self.device_reg(name, 0)
    }

    /// The `index`th register range of the first device compatible with `name`.
    pub fn device_reg(&self, name: &str, index: usize) -> Option<RawRange> {
        self.find_device(name)?.reg(index)
    }

    /// The number that property `property` of the first device compatible with
    /// `name` holds.
    pub fn device_u32(&self, name: &str, property: &str) -> Option<u32> {
        self.find_device(name)?.u32(property)
    }

    #[inline(never)]
    fn find_device(&self, name: &str) -> Option<Node> {
        find(self.fdt.root()?, BUS_DEPTH, name)
    }

    /// All RAM, reserved ranges, devices and harts; hart 0 is `boot_hart`.
    ///
    /// The blob itself, at physical address `blob`, is kept. The registers of the
    /// console, the first of `needed`, and of the other devices of these names are
    /// on the list before all others.
    pub fn inventory(&self, boot_hart: HartId, blob: usize, needed: &[&str]) -> Inventory {
        let mut found = Inventory::new(boot_hart);
        let Some(root) = self.fdt.root() else {
            return found;
        };
        add_ram(root, &mut found);
        found.keep(blob, self.size());
        self.fdt
            .for_each_reservation(&mut |start, size| found.reserve(start, size));
        let console = needed.first().and_then(|name| self.console_reg(name));
        if let Some((start, size)) = console {
            found.add_device(start, size);
        }
        for name in needed {
            if let Some(node) = self.find_device(name) {
                add_registers(node, &mut found);
            }
        }
        add_below(root, BUS_DEPTH, &mut found);
        found
    }

    /// The bytes that `cbo.zero` zeroes, a power of two and no more than a page,
    /// if every RISC-V hart that may be used has it, with blocks of one size.
    pub fn zero_block(&self) -> Option<usize> {
        let mut sizes = usable_harts(self.fdt.find(b"/cpus")?).map(isa::zero_block);
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

/// Adds the RAM that the nodes below the root list. Memory that may be taken out
/// while the machine runs (Devicetree Specification v0.4, 3.4, "hotpluggable") is
/// left alone: the kernel never gives any back. A kernel that was loaded by another
/// one has its part named in a property of its own.
fn add_ram(root: Node, found: &mut Inventory) {
    for node in root.children() {
        if node.base_name() == b"memory" && node.property("hotpluggable").is_none() {
            let list = match node.property("linux,usable-memory") {
                Some(_) => "linux,usable-memory",
                None => "reg",
            };
            node.for_each_range(list, &mut |start, size| found.add_ram(start, size));
        }
    }
}

/// Adds what the nodes below `node` are, RAM apart. Addresses below a bus are taken
/// as they stand where the bus maps them one to one (an empty `ranges`); other buses
/// are passed over.
fn add_below(node: Node, depth: usize, found: &mut Inventory) {
    for child in node.children() {
        match child.base_name() {
            b"memory" => {}
            b"reserved-memory" => {
                for part in child.children() {
                    part.for_each_range("reg", &mut |start, size| found.reserve(start, size));
                }
            }
            b"cpus" => {
                for (id, _) in usable_harts(child).filter_map(|hart| hart.reg(0)) {
                    found.add_hart(id);
                }
            }
            _ => {
                add_registers(child, found);
                if depth > 1 && child.property("ranges").is_some_and(<[u8]>::is_empty) {
                    add_below(child, depth - 1, found);
                }
            }
        }
    }
}

fn add_registers(node: Node, found: &mut Inventory) {
    node.for_each_range("reg", &mut |start, size| found.add_device(start, size));
}

/// The harts that may be used and translate addresses: a RISC-V hart without an MMU
/// says so.
fn usable_harts(cpus: Node) -> impl Iterator<Item = Node> {
    cpus.children()
        .filter(|node| node.base_name() == b"cpu" && node.string("mmu-type") != Some(b"riscv,none"))
}

#[cfg(test)]
mod tests;
