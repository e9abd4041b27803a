//! Device trees, to be changed and handed to a machine (Devicetree Specification v0.4,
//! chapter 5 "Flattened Devicetree (DTB) Format").

use std::path::Path;

use anyhow::{Context, Result};

use crate::files;
use crate::qemu::{Guest, Input};

const MAGIC: u32 = 0xd00d_feed;
const HEADER: usize = 40;
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
    /// The root.
    pub root: Node,
}

/// A node of a device tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, with the unit address.
    pub name: String,
    /// Names and values.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The nodes right below.
    pub children: Vec<Node>,
}

impl Tree {
    /// The device tree that QEMU makes for `guest`; it is left in the file `path`.
    pub fn of(guest: &Guest, path: &Path) -> Result<Self> {
        files::write(path, [])?;
        let mut qemu = guest.command(Input::Nobody);
        let output = qemu
            .args(["-M", &format!("dumpdtb={}", path.display())])
            .output();
        let output = output.context("cannot run QEMU")?;
        let words = String::from_utf8_lossy(&output.stderr);
        Self::parse(&files::read(path)?)
            .with_context(|| format!("QEMU writes no device tree: {words}"))
    }

    /// Reads a blob; `None` if it is none.
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

    /// The blob.
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
            17,
            16,
            0,
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
    /// A node without properties.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Gives it a property.
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.set(name, value);
        self
    }

    /// Gives it a property of numbers of 64 bits, as addresses and sizes below a root
    /// whose `#address-cells` and `#size-cells` are 2.
    pub fn with_reg(self, reg: &[u64]) -> Self {
        let bytes: Vec<u8> = reg.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.with("reg", &bytes)
    }

    /// Gives it a property, in place of one of the same name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.properties.retain(|(old, _)| old != name);
        self.properties.push((name.to_owned(), value.to_vec()));
    }

    /// The child whose name, without the unit address, is `name`; a new one if there is
    /// none.
    pub fn child(&mut self, name: &str) -> &mut Node {
        let is_named = |node: &Node| node.name.split('@').next() == Some(name);
        let at = self.children.iter().position(is_named);
        let at = at.unwrap_or_else(|| {
            self.children.push(Node::new(name));
            self.children.len() - 1
        });
        &mut self.children[at]
    }

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

/// Reads the structure block, token by token.
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

    /// So many bytes, and what pads them to a whole word.
    fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.structure.get(..len)?.to_vec();
        self.structure = self.structure.get(len.next_multiple_of(4)..)?;
        Some(bytes)
    }

    /// The node whose first token has been read.
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

fn text(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes[..len].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_as_it_was_written() {
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
    fn what_is_no_tree_is_refused() {
        let blob = Tree::default().write();
        assert_eq!(Tree::parse(&blob), Some(Tree::default()));
        for len in 0..blob.len() {
            assert_eq!(
                Tree::parse(&blob[..len]).filter(|_| len < 60),
                None,
                "{len}"
            );
        }
    }
}
