//! Reads and writes device trees, so that tests can boot a machine with a changed one
//! (Devicetree Specification v0.4, chapter 5 "Flattened Devicetree (DTB) Format").

use std::path::Path;

use anyhow::{Context, Result};

use crate::files;
use crate::qemu::{Guest, Input};

const MAGIC: u32 = 0xd00d_feed;
/// The size of the header, in bytes.
const HEADER: usize = 40;
/// The version of the format, and the oldest version whose readers can read it.
const VERSION: usize = 17;
const OLDEST_READER: usize = 16;
/// The hardware id of the CPU that boots.
const FIRST_CPU: usize = 0;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// A device tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The memory reservation block: addresses and sizes.
    pub reservations: Vec<(u64, u64)>,
    /// The root node.
    pub root: Node,
}

/// A node of a device tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's name, with the unit address.
    pub name: String,
    /// The names and values of its properties.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The child nodes, in order.
    pub children: Vec<Node>,
}

impl Tree {
    /// Returns the device tree that QEMU makes for `guest`. QEMU writes it to the file `path`.
    pub fn of(guest: &Guest, path: &Path) -> Result<Self> {
        // Makes the folder. If QEMU fails, the file is empty, and not one of an earlier run.
        files::write(path, [])?;
        let mut qemu = guest.command(Input::Empty);
        let output = qemu
            .args(["-M", &format!("dumpdtb={}", path.display())])
            .output();
        let output = output.context("cannot run QEMU")?;
        let words = String::from_utf8_lossy(&output.stderr);
        Self::parse(&files::read(path)?)
            .with_context(|| format!("QEMU wrote no device tree to {}: {words}", path.display()))
    }

    /// Parses a flattened device tree. Returns `None` if `blob` is damaged.
    pub fn parse(blob: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = blob.get(4 * index..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes) as usize)
        };
        if word(0)? != MAGIC as usize {
            return None;
        }
        let entries = blob.get(word(4)?..)?.chunks_exact(16);
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(*bytes.first_chunk()?));
        let reservations = entries.map_while(|entry| {
            let pair = (number(entry)?, number(&entry[8..])?);
            (pair != (0, 0)).then_some(pair)
        });
        let mut reader = Reader {
            structure: blob.get(word(2)?..)?,
            strings: blob.get(word(3)?..)?,
        };
        (reader.token()? == BEGIN_NODE).then_some(())?;
        Some(Self {
            reservations: reservations.collect(),
            root: reader.node()?,
        })
    }

    /// Returns the flattened device tree.
    pub fn write(&self) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        self.root.write(&mut structure, &mut strings);
        structure.extend(END.to_be_bytes());
        let mut reserved: Vec<u8> = Vec::new();
        for (start, size) in self.reservations.iter().chain([&(0, 0)]) {
            reserved.extend(start.to_be_bytes());
            reserved.extend(size.to_be_bytes());
        }
        let at_structure = HEADER + reserved.len();
        let at_strings = at_structure + structure.len();
        let header = [
            MAGIC as usize,
            at_strings + strings.len(),
            at_structure,
            at_strings,
            HEADER,
            VERSION,
            OLDEST_READER,
            FIRST_CPU,
            strings.len(),
            structure.len(),
        ];
        let header = header.iter().flat_map(|word| (*word as u32).to_be_bytes());
        header
            .chain(reserved)
            .chain(structure)
            .chain(strings)
            .collect()
    }
}

impl Node {
    /// Makes a node without properties and children.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Returns the node with one more property.
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.set(name, value);
        self
    }

    /// Returns the node with a property `reg` of 64-bit numbers: addresses and sizes, where
    /// the parent's `#address-cells` and `#size-cells` are 2.
    pub fn with_reg(self, reg: &[u64]) -> Self {
        let bytes: Vec<u8> = reg.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.with("reg", &bytes)
    }

    /// Sets a property. It replaces one of the same name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.properties.retain(|(old, _)| old != name);
        self.properties.push((name.to_owned(), value.to_vec()));
    }

    /// Returns the child whose name, without the unit address, is `name`. Adds one if there
    /// is no such child.
    pub fn child(&mut self, name: &str) -> &mut Node {
        let is_named = |node: &Node| node.name.split('@').next() == Some(name);
        let at = self.children.iter().position(is_named);
        let at = at.unwrap_or_else(|| {
            self.children.push(Node::new(name));
            self.children.len() - 1
        });
        &mut self.children[at]
    }

    /// Appends the node to the blocks of structure and of strings.
    fn write(&self, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
        let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
        structure.extend(BEGIN_NODE.to_be_bytes());
        structure.extend(self.name.as_bytes());
        structure.push(0);
        pad(structure);
        for (name, value) in &self.properties {
            for word in [PROP, value.len() as u32, strings.len() as u32] {
                structure.extend(word.to_be_bytes());
            }
            structure.extend(value);
            pad(structure);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        for child in &self.children {
            child.write(structure, strings);
        }
        structure.extend(END_NODE.to_be_bytes());
    }
}

/// A reader of the structure block, token by token.
struct Reader<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

impl Reader<'_> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.structure.split_first_chunk()?;
        self.structure = rest;
        Some(u32::from_be_bytes(*word))
    }

    fn token(&mut self) -> Option<u32> {
        loop {
            match self.word()? {
                NOP => {}
                token => return Some(token),
            }
        }
    }

    /// Returns the next `len` bytes, and skips their padding to a whole word.
    fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.structure.get(..len)?.to_vec();
        self.structure = self.structure.get(len.next_multiple_of(4)..)?;
        Some(bytes)
    }

    /// Reads the node whose token `BEGIN_NODE` has been read.
    fn node(&mut self) -> Option<Node> {
        let name = text(self.structure)?;
        self.bytes(name.len() + 1)?;
        let mut node = Node::new(&name);
        loop {
            match self.token()? {
                PROP => {
                    let (len, name) = (self.word()? as usize, self.word()? as usize);
                    let name = text(self.strings.get(name..)?)?;
                    node.properties.push((name, self.bytes(len)?));
                }
                BEGIN_NODE => node.children.push(self.node()?),
                END_NODE => return Some(node),
                _ => return None,
            }
        }
    }
}

/// Returns the string at the beginning of `bytes`, which ends before a zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes[..len].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_tree_is_read_back_unchanged() {
        let mut tree = Tree::default();
        tree.reservations.push((0x8000_0000, 0x1000));
        tree.root.set("#address-cells", &2_u32.to_be_bytes());
        tree.root.children.push(
            Node::new("memory@80000000")
                .with("device_type", b"memory\0")
                .with_reg(&[0x8000_0000, 0x1000_0000]),
        );
        tree.root.child("chosen").set("bootargs", b"old\0");
        tree.root.child("chosen").set("bootargs", b"seed=7\0");
        tree.root.child("memory").set("status", b"okay\0");
        assert_eq!(tree.root.children.len(), 2);
        assert_eq!(Tree::parse(&tree.write()), Some(tree));
    }

    #[test]
    fn a_truncated_tree_is_refused() {
        let blob = Tree::default().write();
        assert_eq!(Tree::parse(&blob), Some(Tree::default()));
        for len in 0..blob.len() {
            assert_eq!(Tree::parse(&blob[..len]), None, "{len}");
        }
    }
}
