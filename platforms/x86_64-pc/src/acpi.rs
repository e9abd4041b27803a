//! The ACPI tables that are data: found, checked, and read by offset.
//!
//! Own code, since the crate `acpi` 6 needs a nightly compiler; the language
//! that some tables hold programs in (AML) is not interpreted. Offsets are those
//! of ACPI, chapter 5, "ACPI Software Programming Model".

use axconfig::BOOT_MAPPED;

use axmachine::phys_to_virt;

/// Bytes of the header that every table begins with (ACPI 5.2.6).
const HEADER: usize = 36;
/// Longer than any table: what claims to be longer is none.
const MAX_LENGTH: usize = 1 << 24;

/// A table whose length and checksum are right.
#[derive(Clone, Copy)]
pub struct Table(&'static [u8]);

impl Table {
    /// The table at physical address `paddr`, which is in the boot page table.
    fn at(paddr: usize) -> Option<Self> {
        let length = bytes(paddr, HEADER).and_then(|header| Self(header).u32(4))? as usize;
        bytes(paddr, length)
            .filter(|table| length >= HEADER && checksum(table) == 0)
            .map(Self)
    }

    /// Its physical range: first address and bytes.
    pub fn range(&self) -> (usize, usize) {
        (self.0.as_ptr() as usize - phys_to_virt(0), self.0.len())
    }

    /// All of it.
    pub fn bytes(&self) -> &'static [u8] {
        self.0
    }

    /// The byte at `offset`; `None` behind the end of the table.
    pub fn u8(&self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }

    /// The 32-bit number at `offset`.
    pub fn u32(&self, offset: usize) -> Option<u32> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    /// The 64-bit number at `offset`.
    pub fn u64(&self, offset: usize) -> Option<u64> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The records from `offset` to the end that each begin with a byte of type
    /// and a byte of length.
    pub fn records(&self, offset: usize) -> impl Iterator<Item = Table> {
        let mut rest = self.0.get(offset..).unwrap_or_default();
        core::iter::from_fn(move || {
            let length = usize::from(*rest.get(1)?).max(2);
            let (record, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(Table(record))
        })
    }
}

/// The list of tables: the XSDT, or the RSDT of ACPI 1.0.
#[derive(Clone, Copy)]
pub struct Tables {
    root: Table,
    /// Bytes of an entry of the list, which is a physical address.
    entry: usize,
}

impl Tables {
    /// The tables that the pointer at physical address `rsdp` (ACPI 5.2.5) leads
    /// to; `None` if it leads to none.
    pub fn new(rsdp: usize) -> Option<Self> {
        let old = Table(bytes(rsdp, 20)?);
        if !old.0.starts_with(b"RSD PTR ") || checksum(old.0) != 0 {
            return None;
        }
        if old.u8(15)? >= 2
            && let Some(xsdt) = Table(bytes(rsdp, HEADER)?).u64(24)
            && let Some(root) = Table::at(xsdt as usize)
        {
            return Some(Self { root, entry: 8 });
        }
        let root = Table::at(old.u32(16)? as usize)?;
        Some(Self { root, entry: 4 })
    }

    /// The list itself, the table that only the FADT names, and those on the list.
    pub fn all(&self) -> impl Iterator<Item = Table> {
        let unlisted = [Some(self.root), self.dsdt()];
        let listed = self.addresses().map(Table::at);
        unlisted.into_iter().chain(listed).flatten()
    }

    /// The first table with this signature.
    pub fn find(&self, signature: &[u8; 4]) -> Option<Table> {
        self.addresses()
            .find(|&paddr| bytes(paddr, HEADER).is_some_and(|header| header.starts_with(signature)))
            .and_then(Table::at)
    }

    /// The Fixed ACPI Description Table (ACPI 5.2.9).
    pub fn fadt(&self) -> Option<Table> {
        self.find(b"FACP")
    }

    /// The Differentiated System Description Table, which is a program.
    pub fn dsdt(&self) -> Option<Table> {
        let fadt = self.fadt()?;
        let wide = fadt.u64(140).filter(|&paddr| paddr != 0);
        Table::at(wide.or(fadt.u32(40).map(u64::from))? as usize)
    }

    fn addresses(&self) -> impl Iterator<Item = usize> {
        let Self { root, entry } = *self;
        let offsets = (HEADER..).step_by(entry);
        offsets.map_while(move |offset| match entry {
            4 => root.u32(offset).map(|paddr| paddr as usize),
            _ => root.u64(offset).map(|paddr| paddr as usize),
        })
    }
}

/// `length` bytes of physical memory from `paddr`; `None` if that is nowhere or
/// too long to be a table.
fn bytes(paddr: usize, length: usize) -> Option<&'static [u8]> {
    if paddr == 0 || paddr > BOOT_MAPPED - MAX_LENGTH || length > MAX_LENGTH {
        return None;
    }
    // SAFETY: it was just checked that the boot page table maps the range, and
    // the kernel's own maps what `machine` keeps, which is every table; nobody
    // writes there.
    Some(unsafe { core::slice::from_raw_parts(phys_to_virt(paddr) as *const u8, length) })
}

fn checksum(bytes: &[u8]) -> u8 {
    let add = |sum: u8, &byte| sum.wrapping_add(byte);
    bytes.iter().fold(0, add)
}
