//! A flattened device tree, read in place (Devicetree Specification v0.4, chapter
//! 5 "Flattened Devicetree (DTB) Format").
//!
//! Own code, because every image carries it, that of an application which
//! enables nothing included: with the crate `dtoolkit` 0.4 in its place,
//! helloworld on riscv64 is 12 KiB larger, of which half is the wording of
//! errors. Here whatever is malformed is absent: no byte is read that is not in
//! the blob, and nothing panics. Names and strings stay bytes: checking that they
//! are UTF-8 would cost every image another 800 bytes.

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
    pub name: &'static [u8],
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
    Begin(&'static [u8]),
    Property(&'static [u8], &'static [u8]),
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

    /// The node at an absolute path, whose components name nodes in full and may all
    /// be used.
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

    /// Calls `f` with each entry of the memory reservation block: address and size.
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
    /// The name without the unit address.
    pub fn base_name(&self) -> &'static [u8] {
        up_to(self.name, b'@')
    }

    /// The value of a property.
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

    /// A property that is one string.
    pub fn string(&self, name: &str) -> Option<&'static [u8]> {
        Some(up_to(self.property(name)?, 0))
    }

    /// Whether the device may be used (Devicetree Specification v0.4, 2.3.4
    /// "status"): without a status it may.
    fn is_usable(&self) -> bool {
        matches!(self.string("status"), None | Some(b"okay" | b"ok"))
    }

    /// A property that is one 32-bit number.
    #[inline(never)]
    pub fn u32(&self, name: &str) -> Option<u32> {
        word(self.property(name)?, 0).map(|word| word as u32)
    }

    /// Whether `name` is among the names the device goes by.
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

    /// The `index`th of the node's address ranges: first address and bytes.
    pub fn reg(&self, index: usize) -> Option<(usize, usize)> {
        let mut left = index;
        let mut found = None;
        self.for_each_range("reg", &mut |start, size| {
            if left == 0 {
                found = found.or(Some((start, size)));
            }
            left = left.saturating_sub(1);
        });
        found
    }

    /// Calls `f` with each address range that the property `name` lists: first address
    /// and bytes. The form is that of `reg`.
    #[inline(never)]
    pub fn for_each_range(&self, name: &str, f: &mut dyn FnMut(usize, usize)) {
        let (address, size) = self.cells;
        let value = self.property(name).unwrap_or_default();
        for entry in value.chunks_exact(((address + size) * 4).max(1)) {
            f(cells(entry, 0, address), cells(entry, address, size));
        }
    }

    /// The nodes right below that may be used.
    pub fn children(&self) -> Children {
        let count = |name, default| self.u32(name).map_or(default, |count| count as usize);
        Children {
            tokens: self.body,
            cells: (count("#address-cells", 2), count("#size-cells", 1)),
        }
    }
}

/// Goes through the nodes right below another.
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
                    self.tokens.leave_node()?;
                    if node.is_usable() {
                        return Some(node);
                    }
                }
                // What comes next is behind the parent.
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
    /// Leaves a node behind whose beginning has been read.
    fn leave_node(&mut self) -> Option<()> {
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

/// The text up to the first zero byte; `None` if there is none.
fn text(bytes: &'static [u8]) -> Option<&'static [u8]> {
    let text = up_to(bytes, 0);
    (text.len() < bytes.len()).then_some(text)
}

/// The bytes up to the first `end`, or all.
pub fn up_to(bytes: &[u8], end: u8) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == end);
    &bytes[..len.unwrap_or(bytes.len())]
}
