//! Reads the [`Inventory`] and single devices from a device tree.

use crate::fdt::{Fdt, Node, up_to};
use crate::{HartId, Inventory, RawRange, isa};

/// How many levels below the root are searched for devices: its children, and theirs.
const BUS_DEPTH: usize = 2;

/// A device tree that stays in memory for as long as the kernel runs.
#[derive(Clone, Copy)]
pub struct DeviceTree {
    fdt: Fdt,
}

impl DeviceTree {
    /// Returns the tree at `blob`, or `None` if there is no device tree.
    ///
    /// # Safety
    ///
    /// `blob` must be readable for a header of 40 bytes. If that is the header of a device
    /// tree, the whole blob must be readable, for the size that the header says. The bytes
    /// must never change.
    #[inline(never)]
    pub unsafe fn new(blob: *const u8) -> Option<Self> {
        // SAFETY: `Fdt::new` requires what the caller promises: the blob is readable and
        // never changes.
        let fdt = unsafe { Fdt::new(blob) }?;
        Some(Self { fdt })
    }

    /// Returns the size of the blob in bytes.
    pub fn size(&self) -> usize {
        self.fdt.size()
    }

    /// Returns the kernel's command line, `/chosen/bootargs`; empty if it is missing or not
    /// UTF-8.
    pub fn boot_args(&self) -> &'static str {
        let words = self.string("/chosen", "bootargs").unwrap_or_default();
        core::str::from_utf8(words).unwrap_or_default()
    }

    /// Returns the string in `property` of the node at `path`.
    pub fn string(&self, path: &str, property: &str) -> Option<&'static [u8]> {
        self.fdt.find(path.as_bytes())?.string(property)
    }

    /// Returns the 32-bit number in `property` of the node at `path`.
    pub fn u32(&self, path: &str, property: &str) -> Option<u32> {
        self.fdt.find(path.as_bytes())?.u32(property)
    }

    /// Returns the physical range of the console's registers. [`console`](Self::console) says
    /// which node is the console.
    #[inline(never)]
    fn console_reg(&self, fallback: &str) -> Option<RawRange> {
        let path = self.string("/chosen", "stdout-path");
        path.and_then(|path| self.fdt.find(up_to(path, b':')))
            .and_then(|node| node.reg(0))
            .or_else(|| self.device(fallback))
    }

    /// Returns the physical address of the console's registers. The console is the node that
    /// `/chosen/stdout-path` names, or else the first node that is compatible with
    /// `fallback`.
    pub fn console(&self, fallback: &str) -> Option<usize> {
        self.console_reg(fallback).map(|reg| reg.0)
    }

    /// Returns the first register range of the first device that is compatible with `name`.
    pub fn device(&self, name: &str) -> Option<RawRange> {
        self.device_reg(name, 0)
    }

    /// Returns register range number `index`, counted from 0, of the first device that is
    /// compatible with `name`.
    pub fn device_reg(&self, name: &str, index: usize) -> Option<RawRange> {
        self.find_device(name)?.reg(index)
    }

    /// Returns the 32-bit number in `property` of the first device that is compatible with
    /// `name`.
    pub fn device_u32(&self, name: &str, property: &str) -> Option<u32> {
        self.find_device(name)?.u32(property)
    }

    #[inline(never)]
    fn find_device(&self, name: &str) -> Option<Node> {
        find(self.fdt.root()?, BUS_DEPTH, name)
    }

    /// Returns all RAM, reserved ranges, devices and harts. Hart 0 is `boot_hart`.
    ///
    /// `blob` is the physical address of the tree itself, which is reserved and mapped.
    /// `needed` has the compatible names of the devices that the kernel uses, the console's
    /// first. They are added before all others, so that a full list contains them.
    pub fn inventory(&self, boot_hart: HartId, blob: usize, needed: &[&str]) -> Inventory {
        let mut found = Inventory::new(boot_hart);
        let Some(root) = self.fdt.root() else {
            return found;
        };
        add_ram(root, &mut found);
        found.reserve_mapped(blob, self.size());
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

    /// Returns how many bytes the RISC-V instruction `cbo.zero` zeroes: a power of two, at
    /// most a page. `None` if a usable hart lacks the instruction or has another size.
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

/// Adds the RAM that the memory nodes below the root list.
///
/// Memory that may be removed while the machine runs is not added, since the kernel never
/// gives memory back (Devicetree Specification v0.4, 3.4, "hotpluggable"). Linux's kexec
/// puts the memory that the next kernel may use into `linux,usable-memory`, which replaces
/// `reg`.
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

/// Adds the devices, reserved ranges and harts that the nodes below `node` describe.
///
/// A bus with an empty `ranges` has the same addresses as its parent, so its children are
/// added too. Devices below other buses are skipped.
fn add_below(node: Node, depth: usize, found: &mut Inventory) {
    for child in node.children() {
        match child.base_name() {
            b"memory" => {}
            b"reserved-memory" => {
                for range in child.children() {
                    range.for_each_range("reg", &mut |start, size| found.reserve(start, size));
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

/// Returns the nodes of the harts that the kernel can use: they are not disabled, and they
/// have an MMU.
fn usable_harts(cpus: Node) -> impl Iterator<Item = Node> {
    cpus.children()
        .filter(|node| node.base_name() == b"cpu" && node.string("mmu-type") != Some(b"riscv,none"))
}

#[cfg(test)]
mod tests;
