//! A flattened device tree, read in place (Devicetree Specification v0.4, chapter
//! 5 "Flattened Devicetree (DTB) Format").
//!
//! Own code, because every image carries it, that of an application which
//! enables nothing included: with the crate `dtoolkit` 0.4 in its place,
//! helloworld on riscv64 is 12 KiB larger, of which half is the wording of
//! errors. Here whatever is malformed is absent: no byte is read that is not in
//! the blob, and nothing panics.

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
    /// Its name, with the unit address.
    pub name: &'static str,
    /// The tokens behind the name: properties, then children, then its end.
    body: Tokens,
    /// How many cells its address and its size have: the parent says.
    cells: (usize, usize),
}

/// The tokens of the structure block, in order.
#[derive(Clone, Copy)]
struct Tokens {
    rest: &'static [u8],
    strings: &'static [u8],
}

enum Token {
    Begin(&'static str),
    Property(&'static str, &'static [u8]),
    End,
}

impl Fdt {
    /// The tree at `blob`, or `None` if what lies there is none.
    ///
    /// # Safety
    ///
    /// `blob` is readable for as many bytes as its header says, and what it
    /// points to never changes.
    pub unsafe fn new(blob: *const u8) -> Option<Self> {
        const HEADER: usize = 40;
        // SAFETY: a header is readable, by the caller's promise.
        let header = unsafe { core::slice::from_raw_parts(blob, HEADER) };
        if word(header, 0)? != MAGIC as usize {
            return None;
        }
        // SAFETY: it is a device tree, so all of it is readable.
        let blob = unsafe { core::slice::from_raw_parts(blob, word(header, 1)?) };
        Some(Self {
            blob,
            structure: part(blob, word(header, 2)?, word(header, 9)?)?,
            strings: part(blob, word(header, 3)?, word(header, 8)?)?,
        })
    }

    /// The bytes of the blob.
    pub fn size(&self) -> usize {
        self.blob.len()
    }

    /// The root.
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

    /// The node at an absolute path, whose components name nodes in full.
    pub fn find(&self, path: &str) -> Option<Node> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(self.root()?, |node, name| {
            node.children().find(|child| child.name == name)
        })
    }

    /// The memory reservation block: addresses and sizes.
    pub fn reservations(&self) -> impl Iterator<Item = (usize, usize)> {
        let start = word(self.blob, 4).unwrap_or(usize::MAX);
        let entries = self.blob.get(start..).unwrap_or_default().chunks_exact(16);
        let pairs = entries.map(|entry| (cells(entry, 0, 2), cells(entry, 2, 2)));
        pairs.take_while(|&pair| pair != (0, 0))
    }
}

impl Node {
    /// The name without the unit address.
    pub fn base_name(&self) -> &'static str {
        self.name.split('@').next().unwrap_or_default()
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'static [u8]> {
        let mut tokens = self.body;
        while let Some(Token::Property(found, value)) = tokens.next() {
            if found == name {
                return Some(value);
            }
        }
        None
    }

    /// A property that is one string.
    pub fn string(&self, name: &str) -> Option<&'static str> {
        self.strings(name).next()
    }

    /// A property that is a list of strings.
    pub fn strings(&self, name: &str) -> impl Iterator<Item = &'static str> {
        let value = self.property(name).unwrap_or_default();
        let texts = value
            .split(|&byte| byte == 0)
            .filter(|text| !text.is_empty());
        texts.filter_map(|text| core::str::from_utf8(text).ok())
    }

    /// A property that is one 32-bit number.
    pub fn u32(&self, name: &str) -> Option<u32> {
        word(self.property(name)?, 0).map(|word| word as u32)
    }

    /// Whether `name` is among the names the device goes by.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.strings("compatible").any(|found| found == name)
    }

    /// The node's address ranges: first address and bytes.
    pub fn reg(&self) -> impl Iterator<Item = (usize, usize)> {
        let (address, size) = self.cells;
        let value = self.property("reg").unwrap_or_default();
        let entries = value.chunks_exact(((address + size) * 4).max(1));
        entries.map(move |entry| (cells(entry, 0, address), cells(entry, address, size)))
    }

    /// The nodes right below.
    pub fn children(&self) -> impl Iterator<Item = Node> + use<> {
        let count = |name, default| self.u32(name).map_or(default, |count| count as usize);
        let cells = (count("#address-cells", 2), count("#size-cells", 1));
        let mut tokens = self.body;
        let mut depth = 0;
        core::iter::from_fn(move || {
            loop {
                match tokens.next()? {
                    Token::Begin(name) => {
                        depth += 1;
                        if depth == 1 {
                            let body = tokens;
                            return Some(Node { name, body, cells });
                        }
                    }
                    Token::End if depth == 0 => return None,
                    Token::End => depth -= 1,
                    Token::Property(..) => {}
                }
            }
        })
    }
}

impl Iterator for Tokens {
    type Item = Token;

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
    fn word(&mut self) -> Option<usize> {
        let value = word(self.rest, 0)?;
        self.skip(4)?;
        Some(value)
    }

    /// Leaves `len` bytes behind, and what pads them to a whole word.
    fn skip(&mut self, len: usize) -> Option<()> {
        self.rest = self.rest.get(len.checked_next_multiple_of(4)?..)?;
        Some(())
    }
}

/// The `index`th big-endian word.
fn word(bytes: &[u8], index: usize) -> Option<usize> {
    let bytes = bytes.get(index * 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

/// The number that `count` words from the `first` on make; 0 for no words.
fn cells(bytes: &[u8], first: usize, count: usize) -> usize {
    let words = (first..first + count).filter_map(|index| word(bytes, index));
    words.fold(0, |number, word| number << 32 | word)
}

fn part(blob: &'static [u8], start: usize, len: usize) -> Option<&'static [u8]> {
    blob.get(start..)?.get(..len)
}

/// The text up to the first zero byte.
fn text(bytes: &'static [u8]) -> Option<&'static str> {
    let len = bytes.iter().position(|&byte| byte == 0)?;
    core::str::from_utf8(bytes.get(..len)?).ok()
}
