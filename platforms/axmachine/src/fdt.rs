//! Reads a flattened device tree in place (Devicetree Specification v0.4, chapter 5
//! "Flattened Devicetree (DTB) Format").
//!
//! A malformed part of the tree is treated as absent. All reads stay inside the blob, and
//! nothing panics.
//!
//! This is own code because every image carries it, even one without features. With the
//! crate `dtoolkit` 0.4 instead, helloworld on riscv64 is 12 KiB larger, half of which is
//! the text of error messages. Names and strings are bytes, since checks for UTF-8 would
//! cost every image another 800 bytes.

/// The blob's first four bytes.
const MAGIC: u32 = 0xd00d_feed;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;

/// A flattened device tree.
#[derive(Clone, Copy)]
pub struct Fdt {
    blob: &'static [u8],
    structure: &'static [u8],
    strings: &'static [u8],
}

/// A node of the tree.
#[derive(Clone, Copy)]
pub struct Node {
    /// The node's name, unit address included.
    pub name: &'static [u8],
    /// The tokens after the name: properties, then children, then the end of the node.
    body: Tokens,
    /// How many cells an address and a size in `reg` have. The parent node says so.
    cells: (usize, usize),
}

/// The tokens of the structure block, in order.
#[derive(Clone, Copy)]
struct Tokens {
    rest: &'static [u8],
    strings: &'static [u8],
}

enum Token {
    Begin(&'static [u8]),
    Property(&'static [u8], &'static [u8]),
    End,
}

impl Fdt {
    /// Returns the tree at `blob`, or `None` if there is no device tree.
    ///
    /// # Safety
    ///
    /// `blob` must be readable for a header of 40 bytes. If that is the header of a device
    /// tree, the whole blob must be readable, for the size that the header says. The bytes
    /// must never change.
    pub unsafe fn new(blob: *const u8) -> Option<Self> {
        const HEADER: usize = 40;
        // SAFETY: the caller promises that the 40 bytes of a header are readable.
        let header = unsafe { core::slice::from_raw_parts(blob, HEADER) };
        if word(header, 0)? != MAGIC as usize {
            return None;
        }
        // SAFETY: the magic number was right, so this is a device tree. The caller promises
        // that it is readable for the size in its header.
        let blob = unsafe { core::slice::from_raw_parts(blob, word(header, 1)?) };
        Some(Self {
            blob,
            structure: part(blob, word(header, 2)?, word(header, 9)?)?,
            strings: part(blob, word(header, 3)?, word(header, 8)?)?,
        })
    }

    /// Returns the size of the blob in bytes.
    pub fn size(&self) -> usize {
        self.blob.len()
    }

    /// Returns the root node.
    pub fn root(&self) -> Option<Node> {
        let mut body = Tokens {
            rest: self.structure,
            strings: self.strings,
        };
        match body.next()? {
            Token::Begin(name) => Some(Node {
                name,
                body,
                cells: (0, 0),
            }),
            _ => None,
        }
    }

    /// Returns the node at an absolute path, whose components are names with unit addresses.
    /// `None` if a node on the path is disabled.
    #[inline(never)]
    pub fn find(&self, path: &[u8]) -> Option<Node> {
        let mut node = self.root()?;
        for name in path.split(|&byte| byte == b'/') {
            if !name.is_empty() {
                node = node.children().find(|child| child.name == name)?;
            }
        }
        Some(node)
    }

    /// Calls `f` with each entry of the memory reservation block: physical address and size
    /// in bytes.
    pub fn for_each_reservation(&self, f: &mut dyn FnMut(usize, usize)) {
        let start = word(self.blob, 4).unwrap_or(usize::MAX);
        for entry in self.blob.get(start..).unwrap_or_default().chunks_exact(16) {
            match (cells(entry, 0, 2), cells(entry, 2, 2)) {
                (0, 0) => return,
                (start, size) => f(start, size),
            }
        }
    }
}

impl Node {
    /// Returns the name without the unit address.
    pub fn base_name(&self) -> &'static [u8] {
        up_to(self.name, b'@')
    }

    /// Returns the value of a property.
    #[inline(never)]
    pub fn property(&self, name: &str) -> Option<&'static [u8]> {
        let mut tokens = self.body;
        while let Some(Token::Property(found, value)) = tokens.next() {
            if found == name.as_bytes() {
                return Some(value);
            }
        }
        None
    }

    /// Returns the value of a property that is one string, without the final zero byte.
    pub fn string(&self, name: &str) -> Option<&'static [u8]> {
        Some(up_to(self.property(name)?, 0))
    }

    /// Returns whether the device may be used (Devicetree Specification v0.4, 2.3.4
    /// "status"). A node without a status may.
    fn is_usable(&self) -> bool {
        matches!(self.string("status"), None | Some(b"okay" | b"ok"))
    }

    /// Returns the value of a property that is one 32-bit number.
    #[inline(never)]
    pub fn u32(&self, name: &str) -> Option<u32> {
        word(self.property(name)?, 0).map(|word| word as u32)
    }

    /// Returns whether `name` is in the node's property `compatible`.
    pub fn is_compatible(&self, name: &str) -> bool {
        let mut names = self.property("compatible").unwrap_or_default();
        while !names.is_empty() {
            let first = up_to(names, 0);
            if first == name.as_bytes() {
                return true;
            }
            names = names.get(first.len() + 1..).unwrap_or_default();
        }
        false
    }

    /// Returns the node's address range number `index`, counted from 0: address and size in
    /// bytes.
    pub fn reg(&self, index: usize) -> Option<(usize, usize)> {
        let mut to_skip = index;
        let mut found = None;
        self.for_each_range("reg", &mut |start, size| {
            if to_skip == 0 {
                found = found.or(Some((start, size)));
            }
            to_skip = to_skip.saturating_sub(1);
        });
        found
    }

    /// Calls `f` with each address range that the property `name` lists: address and size in
    /// bytes. The property has the format of `reg`.
    #[inline(never)]
    pub fn for_each_range(&self, name: &str, f: &mut dyn FnMut(usize, usize)) {
        let (address, size) = self.cells;
        let value = self.property(name).unwrap_or_default();
        for entry in value.chunks_exact(((address + size) * 4).max(1)) {
            f(cells(entry, 0, address), cells(entry, address, size));
        }
    }

    /// Returns the node's children that may be used.
    pub fn children(&self) -> Children {
        let count = |name, default| self.u32(name).map_or(default, |count| count as usize);
        Children {
            tokens: self.body,
            cells: (count("#address-cells", 2), count("#size-cells", 1)),
        }
    }
}

/// An iterator over the children of a node that may be used.
pub struct Children {
    tokens: Tokens,
    cells: (usize, usize),
}

impl Iterator for Children {
    type Item = Node;

    #[inline(never)]
    fn next(&mut self) -> Option<Node> {
        loop {
            match self.tokens.next()? {
                Token::Begin(name) => {
                    let node = Node {
                        name,
                        body: self.tokens,
                        cells: self.cells,
                    };
                    self.tokens.skip_node()?;
                    if node.is_usable() {
                        return Some(node);
                    }
                }
                // The parent node ends here.
                Token::End => self.tokens.rest = &[],
                Token::Property(..) => {}
            }
        }
    }
}

impl Iterator for Tokens {
    type Item = Token;

    #[inline(never)]
    fn next(&mut self) -> Option<Token> {
        loop {
            match self.word()? as u32 {
                BEGIN_NODE => {
                    let name = text(self.rest)?;
                    self.skip(name.len() + 1)?;
                    return Some(Token::Begin(name));
                }
                END_NODE => return Some(Token::End),
                PROP => {
                    let (len, name) = (self.word()?, self.word()?);
                    let value = self.rest.get(..len)?;
                    self.skip(len)?;
                    return Some(Token::Property(text(self.strings.get(name..)?)?, value));
                }
                NOP => {}
                _ => return None,
            }
        }
    }
}

impl Tokens {
    /// Skips the rest of a node whose name has been read.
    fn skip_node(&mut self) -> Option<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Token::Begin(_) => depth += 1,
                Token::End => depth -= 1,
                Token::Property(..) => {}
            }
        }
        Some(())
    }

    fn word(&mut self) -> Option<usize> {
        let value = word(self.rest, 0)?;
        self.skip(4)?;
        Some(value)
    }

    /// Skips `len` bytes and the padding that follows them.
    fn skip(&mut self, len: usize) -> Option<()> {
        self.rest = self.rest.get(len.checked_next_multiple_of(4)?..)?;
        Some(())
    }
}

/// Returns the big-endian 32-bit word number `index`, counted from 0.
fn word(bytes: &[u8], index: usize) -> Option<usize> {
    let bytes = bytes.get(index * 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

/// Returns the number in `count` words from word `first` on; 0 if `count` is 0.
fn cells(bytes: &[u8], first: usize, count: usize) -> usize {
    let words = (first..first + count).filter_map(|index| word(bytes, index));
    words.fold(0, |number, word| number << 32 | word)
}

fn part(blob: &'static [u8], start: usize, len: usize) -> Option<&'static [u8]> {
    blob.get(start..)?.get(..len)
}

/// Returns the bytes before the first zero byte; `None` if no byte is zero.
fn text(bytes: &'static [u8]) -> Option<&'static [u8]> {
    let text = up_to(bytes, 0);
    (text.len() < bytes.len()).then_some(text)
}

/// Returns the bytes before the first `end`, or all if there is no `end`.
pub fn up_to(bytes: &[u8], end: u8) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == end);
    &bytes[..len.unwrap_or(bytes.len())]
}
