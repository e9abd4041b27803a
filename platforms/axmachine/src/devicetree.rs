//! Reading a flattened device tree (Devicetree Specification v0.4) into an
//! [`Inventory`], and finding single devices in it.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::{HartId, Inventory, RawRange};

/// How deep devices are looked for: the root, and the buses right below it.
const BUS_DEPTH: usize = 2;

/// A device tree that lies in memory for as long as the kernel runs.
#[derive(Clone, Copy)]
pub struct DeviceTree {
    fdt: Fdt<'static>,
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
        let fdt = unsafe { Fdt::from_raw(blob) }.ok()?;
        Some(Self { fdt })
    }

    /// The bytes of the blob itself, to be reserved.
    pub fn size(&self) -> usize {
        self.fdt.data().len()
    }

    /// The boot loader's words: `/chosen/bootargs`.
    pub fn boot_args(&self) -> &'static str {
        self.string("/chosen", "bootargs").unwrap_or_default()
    }

    /// A property of a node that holds one string.
    pub fn string(&self, path: &str, property: &str) -> Option<&'static str> {
        string_of(self.fdt.find_node(path)?, property)
    }

    /// A property of a node that holds one 32-bit number.
    pub fn u32(&self, path: &str, property: &str) -> Option<u32> {
        u32_of(self.fdt.find_node(path)?, property)
    }

    /// The physical address of the console's registers: the node that
    /// `/chosen/stdout-path` names, or else the first that is compatible with
    /// `fallback`.
    pub fn console(&self, fallback: &str) -> Option<usize> {
        let path = self.string("/chosen", "stdout-path");
        path.and_then(|path| self.fdt.find_node(path.split(':').next()?))
            .and_then(|node| first_reg(node).map(|reg| reg.0))
            .or_else(|| self.device(fallback).map(|reg| reg.0))
    }

    /// The first register range of the first device compatible with `name`.
    pub fn device(&self, name: &str) -> Option<RawRange> {
        self.device_reg(name, 0)
    }

    /// The `index`th register range of the first device compatible with `name`.
    pub fn device_reg(&self, name: &str, index: usize) -> Option<RawRange> {
        let node = find(self.fdt.root(), BUS_DEPTH, &|node| node.is_compatible(name))?;
        regs(node).nth(index)
    }

    /// The number that property `property` of the first node compatible with
    /// `name` holds.
    pub fn device_u32(&self, name: &str, property: &str) -> Option<u32> {
        u32_of(
            find(self.fdt.root(), BUS_DEPTH, &|node| node.is_compatible(name))?,
            property,
        )
    }

    /// All RAM, reserved ranges, devices and harts; hart 0 is `boot_hart`.
    ///
    /// The blob itself, at physical address `blob`, counts as reserved.
    pub fn inventory(&self, boot_hart: HartId, blob: usize) -> Inventory {
        let mut found = Inventory::new(boot_hart);
        let root = self.fdt.root();
        for node in root.children().filter(|n| n.name_without_address() == "memory") {
            regs(node).for_each(|(start, size)| found.add_ram(start, size));
        }
        found.reserve(blob, self.size());
        for reserved in self.fdt.memory_reservations() {
            found.reserve(reserved.address() as usize, reserved.size() as usize);
        }
        if let Some(node) = self.fdt.find_node("/reserved-memory") {
            for child in node.children() {
                regs(child).for_each(|(start, size)| found.reserve(start, size));
            }
        }
        add_devices(root, BUS_DEPTH, &mut found);
        if let Some(cpus) = self.fdt.find_node("/cpus") {
            let harts = cpus.children().filter(|n| n.name_without_address() == "cpu");
            for hart in harts.filter(|node| is_usable(*node)) {
                if let Some((id, _)) = first_reg(hart) {
                    found.add_hart(id);
                }
            }
        }
        found.finish()
    }
}

fn string_of(node: FdtNode<'static>, property: &str) -> Option<&'static str> {
    let property = node.properties().find(|p| p.name() == property)?;
    property.value_as::<&'static str>().ok()
}

fn u32_of(node: FdtNode<'static>, property: &str) -> Option<u32> {
    let property = node.properties().find(|p| p.name() == property)?;
    property.value_as::<u32>().ok()
}

fn is_usable(node: FdtNode<'static>) -> bool {
    string_of(node, "status").is_none_or(|status| status == "okay" || status == "ok")
}

fn regs(node: FdtNode<'static>) -> impl Iterator<Item = RawRange> {
    let regs = node.reg().ok().flatten();
    regs.into_iter()
        .flatten()
        .filter_map(|reg| Some((reg.address::<u64>().ok()? as usize, reg.size::<u64>().ok()? as usize)))
}

fn first_reg(node: FdtNode<'static>) -> Option<RawRange> {
    regs(node).next()
}

fn find(
    node: FdtNode<'static>,
    depth: usize,
    wanted: &dyn Fn(&FdtNode<'static>) -> bool,
) -> Option<FdtNode<'static>> {
    if wanted(&node) {
        return Some(node);
    }
    if depth == 0 {
        return None;
    }
    node.children().find_map(|child| find(child, depth - 1, wanted))
}

/// Adds the registers of every device below `node`. Addresses below a bus are
/// taken as they stand where the bus maps them one to one (an empty `ranges`);
/// other buses are passed over.
fn add_devices(node: FdtNode<'static>, depth: usize, found: &mut Inventory) {
    for child in node.children() {
        let name = child.name_without_address();
        if matches!(name, "memory" | "cpus" | "reserved-memory" | "chosen") {
            continue;
        }
        regs(child).for_each(|(start, size)| found.add_device(start, size));
        let is_plain_bus = child
            .properties()
            .any(|p| p.name() == "ranges" && p.value().is_empty());
        if depth > 1 && is_plain_bus {
            add_devices(child, depth - 1, found);
        }
    }
}
