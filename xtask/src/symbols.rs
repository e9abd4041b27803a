//! Reads an image's symbol table, and tells which crate each byte comes from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind};

use crate::files;
use crate::image::Image;

/// The use of bytes in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Executable code.
    Text,
    /// Read-only data.
    Rodata,
    /// Variables with an initial value.
    Data,
    /// Variables that are zero at first. They are not in the flat binary.
    Bss,
}

/// The parts, in the order of an image.
pub const PARTS: [Part; 4] = [Part::Text, Part::Rodata, Part::Data, Part::Bss];

/// The number of bytes in each part, in the order of [`PARTS`].
pub type Bytes = [u64; 4];

/// The row of bytes that belong to no symbol: string literals, tables, padding.
pub const UNNAMED: &str = "(literals, padding)";
/// The row of symbols from assembly and the linker script.
pub const ASSEMBLY: &str = "(assembly)";

/// A symbol that has a size.
#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    part: Part,
    start: u64,
    size: u64,
}

/// The symbols and sections of an image.
#[derive(Debug)]
pub struct Symbols {
    symbols: Vec<Symbol>,
    totals: Bytes,
}

impl Symbols {
    /// Reads the symbols from an image's ELF file.
    pub fn of(image: &Image) -> Result<Symbols> {
        let bytes = files::read(&image.elf)?;
        let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice())
            .with_context(|| format!("cannot read {}", image.elf.display()))?;
        let mut totals = Bytes::default();
        let mut parts = HashMap::new();
        for section in elf.sections() {
            if let Some(part) = part(section.flags(), section.kind()) {
                totals[part as usize] += section.size();
                parts.insert(section.index(), part);
            }
        }
        let symbols = elf.symbols().filter_map(|symbol| {
            let part = *parts.get(&symbol.section_index()?)?;
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
            let (start, size) = (symbol.address(), symbol.size());
            (size > 0).then_some(Symbol {
                name,
                part,
                start,
                size,
            })
        });
        Ok(Symbols {
            symbols: symbols.collect(),
            totals,
        })
    }

    /// Returns the crates that have code or data in the image.
    pub fn crates(&self) -> BTreeSet<String> {
        self.symbols
            .iter()
            .filter_map(|symbol| crate_of(&symbol.name))
            .collect()
    }

    /// Returns the first symbol whose name contains a path of the crate `name`, also among
    /// its type parameters.
    pub fn mention(&self, name: &str) -> Option<&str> {
        let path = format!("{name}::");
        self.symbols
            .iter()
            .map(|symbol| symbol.name.as_str())
            .find(|symbol| {
                symbol.match_indices(&path).any(|(at, _)| {
                    !symbol[..at].ends_with(|char| is_identifier(char) || char == ':')
                })
            })
    }

    /// Returns the size of each part of the image.
    pub fn totals(&self) -> Bytes {
        self.totals
    }

    /// Returns the size of each part by crate, the largest crate first. Bytes that two symbols
    /// share count for the symbol that begins first. If both begin at the same address, they
    /// count for the smaller one.
    pub fn shares(&self) -> Vec<(String, Bytes)> {
        let mut symbols: Vec<&Symbol> = self.symbols.iter().collect();
        symbols.sort_by_key(|symbol| (symbol.part, symbol.start, symbol.size));
        let mut shares: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut left = self.totals;
        let mut covered = (Part::Text, 0);
        for symbol in symbols {
            let end = symbol.start + symbol.size;
            let from = if covered.0 == symbol.part {
                symbol.start.max(covered.1)
            } else {
                symbol.start
            };
            let bytes = end.saturating_sub(from);
            covered = (symbol.part, end.max(from));
            let owner = owner(&symbol.name);
            shares.entry(owner).or_default()[symbol.part as usize] += bytes;
            let rest = &mut left[symbol.part as usize];
            *rest = rest.saturating_sub(bytes);
        }
        let nameless = shares.entry(UNNAMED.to_owned()).or_default();
        nameless
            .iter_mut()
            .zip(left)
            .for_each(|(bytes, rest)| *bytes += rest);
        let mut shares: Vec<_> = shares
            .into_iter()
            .filter(|(_, bytes)| *bytes != [0; 4])
            .collect();
        shares.sort_by_key(|(_, bytes)| {
            std::cmp::Reverse((in_file(bytes), bytes[Part::Bss as usize]))
        });
        shares
    }
}

/// Returns how many of these bytes are in the flat binary: all but bss.
pub fn in_file(bytes: &Bytes) -> u64 {
    bytes[..Part::Bss as usize].iter().sum()
}

fn part(flags: SectionFlags, kind: SectionKind) -> Option<Part> {
    let SectionFlags::Elf { sh_flags, .. } = flags else {
        return None;
    };
    let has = |flag: object::elf::SectionFlags| sh_flags.0 & flag.0 != 0;
    if !has(SHF_ALLOC) {
        return None;
    }
    Some(match kind {
        SectionKind::UninitializedData => Part::Bss,
        _ if has(SHF_EXECINSTR) => Part::Text,
        _ if has(SHF_WRITE) => Part::Data,
        _ => Part::Rodata,
    })
}

/// Returns the row of the table that a symbol's bytes count for.
fn owner(name: &str) -> String {
    const BUILTINS: [&str; 7] = [
        "memcpy",
        "memmove",
        "memset",
        "memcmp",
        "bcmp",
        "strlen",
        "rust_eh_personality",
    ];
    match crate_of(name) {
        Some(name) => name,
        None if BUILTINS.contains(&name) || name.starts_with("__") => {
            "compiler_builtins".to_owned()
        }
        // The compiler's names for literals: `anon.0123.4`, `switch.table`.
        None if name.contains('.') => UNNAMED.to_owned(),
        None => ASSEMBLY.to_owned(),
    }
}

/// Returns the crate of a demangled name. For a method of a trait that is the crate of the
/// implementing type, or the trait's crate if the type belongs to no crate.
fn crate_of(name: &str) -> Option<String> {
    let (kind, rest) = match name.strip_prefix('<') {
        Some(inner) => inner
            .split_once(" as ")
            .map_or((inner, None), |(kind, of)| (kind, Some(of))),
        None => (name, None),
    };
    first_crate(kind).or_else(|| first_crate(rest?))
}

/// Returns the identifier before the path's first `::`, if the path begins with one.
fn first_crate(path: &str) -> Option<String> {
    let path = path.trim_start_matches(|char| !is_identifier(char));
    let path = ["mut ", "const ", "dyn "]
        .iter()
        .fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let end = path.find(|char| !is_identifier(char)).unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    (!name.is_empty() && rest.starts_with("::")).then(|| name.to_owned())
}

fn is_identifier(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_of_a_symbol_is_found() {
        for (name, owner) in [
            ("axmm::aspace::map", Some("axmm")),
            ("<axmm::Area as core::fmt::Debug>::fmt", Some("axmm")),
            (
                "<&mut axlog::Writer as core::fmt::Write>::write_str",
                Some("axlog"),
            ),
            ("<u32 as core::fmt::Display>::fmt", Some("core")),
            ("<[T] as core::fmt::Debug>::fmt", Some("core")),
            ("core::ptr::drop_in_place<axmm::Area>", Some("core")),
            ("_start", None),
            ("memcpy", None),
        ] {
            assert_eq!(crate_of(name).as_deref(), owner, "{name}");
        }
        assert_eq!(owner("memcpy"), "compiler_builtins");
        assert_eq!(owner("_start"), ASSEMBLY);
    }

    #[test]
    fn bytes_that_two_symbols_share_count_once() {
        let symbol = |name: &str, part, start, size| Symbol {
            name: name.into(),
            part,
            start,
            size,
        };
        let symbols = Symbols {
            symbols: vec![
                symbol("a::f", Part::Text, 0, 10),
                symbol("b::g", Part::Text, 5, 10),
                symbol("c::h", Part::Text, 0, 4),
                symbol("a::X", Part::Bss, 0, 8),
            ],
            totals: [20, 3, 0, 8],
        };
        let shares: BTreeMap<_, _> = symbols.shares().into_iter().collect();
        assert_eq!(shares["c"], [4, 0, 0, 0]);
        assert_eq!(shares["a"], [6, 0, 0, 8]);
        assert_eq!(shares["b"], [5, 0, 0, 0]);
        assert_eq!(shares[UNNAMED], [5, 3, 0, 0]);
    }

    #[test]
    fn a_crate_is_found_by_its_whole_name() {
        let symbol = |name: &str| Symbol {
            name: name.into(),
            part: Part::Text,
            start: 0,
            size: 1,
        };
        let symbols = Symbols {
            symbols: vec![symbol("core::f<maxmm::X>")],
            totals: [1, 0, 0, 0],
        };
        assert_eq!(symbols.mention("axmm"), None);
        assert!(symbols.mention("maxmm").is_some());
    }
}
