//! The ACPI tables that are data: found, checked, and read by offset.
//!
//! Own code, since the crate `acpi` 6 needs a nightly compiler; the language
//! that some tables hold programs in (AML) is not interpreted. Offsets are those
//! of ACPI, chapter 5, "ACPI Software Programming Model".

use axconfig::PAGE_SIZE;

use crate::{HartId, Inventory, RawRange};

/// Bytes of the header that every table begins with (ACPI 5.2.6).
const HEADER: usize = 36;
/// Bytes of the pointer to the list of tables (ACPI 5.2.5.3).
const POINTER: usize = 36;

/// Reads so many bytes from a physical address on; `None` if they are not mapped.
pub type Read = fn(usize, usize) -> Option<&'static [u8]>;

/// A table whose length and checksum are right, or a record in one.
#[derive(Clone, Copy)]
pub struct Table(&'static [u8]);

impl Table {
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
    fn records(&self, offset: usize) -> impl Iterator<Item = Table> {
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
    read: Read,
    /// Where the pointer to the list is.
    pointer: usize,
    /// Where the list is.
    list: usize,
    /// Bytes of an entry of the list, which is a physical address.
    entry: usize,
}

impl Tables {
    /// The tables that the pointer at physical address `pointer` (ACPI 5.2.5) leads
    /// to; `None` if it leads to none.
    pub fn new(read: Read, pointer: usize) -> Option<Self> {
        let old = Table(read(pointer, 20)?);
        if !old.0.starts_with(b"RSD PTR ") || checksum(old.0) != 0 {
            return None;
        }
        let tables = |list, entry| {
            let tables = Self {
                read,
                pointer,
                list,
                entry,
            };
            tables.at(list).map(|_| tables)
        };
        let new = Table(read(pointer, POINTER)?);
        let list = new.u64(24).filter(|_| old.u8(15) >= Some(2));
        list.and_then(|list| tables(list as usize, 8))
            .or_else(|| tables(old.u32(16)? as usize, 4))
    }

    /// The table at physical address `paddr`, if its length and checksum are right.
    fn at(&self, paddr: usize) -> Option<Table> {
        let length = Table((self.read)(paddr, HEADER)?).u32(4)? as usize;
        (self.read)(paddr, length)
            .filter(|table| length >= HEADER && checksum(table) == 0)
            .map(Table)
    }

    /// The physical addresses on the list.
    fn addresses(&self) -> impl Iterator<Item = usize> {
        let Self { list, entry, .. } = *self;
        let list = self.at(list);
        let offsets = (HEADER..).step_by(entry);
        offsets.map_while(move |offset| match entry {
            4 => list?.u32(offset).map(|paddr| paddr as usize),
            _ => list?.u64(offset).map(|paddr| paddr as usize),
        })
    }

    /// The first table with this signature.
    pub fn find(&self, signature: &[u8; 4]) -> Option<Table> {
        let mut tables = self.addresses().filter_map(|paddr| self.at(paddr));
        tables.find(|table| table.0.starts_with(signature))
    }

    /// The Fixed ACPI Description Table (ACPI 5.2.9).
    pub fn fadt(&self) -> Option<Table> {
        self.find(b"FACP")
    }

    /// The Differentiated System Description Table, which is a program.
    pub fn dsdt(&self) -> Option<Table> {
        self.at(self.dsdt_address()?)
    }

    fn dsdt_address(&self) -> Option<usize> {
        let fadt = self.fadt()?;
        let wide = fadt.u64(140).filter(|&paddr| paddr != 0);
        Some(wide.or(fadt.u32(40).map(u64::from))? as usize)
    }

    /// The physical ranges of all that is read here: the pointer, the list, the
    /// tables on it and the one that only the FADT names. Of a table that is damaged
    /// it is the header.
    fn ranges(&self) -> impl Iterator<Item = RawRange> {
        let unlisted = [Some(self.list), self.dsdt_address()];
        let tables = unlisted.into_iter().flatten().chain(self.addresses());
        let length = |paddr| self.at(paddr).map_or(HEADER, |table| table.0.len());
        let tables = tables.map(move |paddr| (paddr, length(paddr)));
        [(self.pointer, POINTER)].into_iter().chain(tables)
    }

    /// Keeps the tables, and adds the harts and devices that they name: those that
    /// the kernel uses first.
    pub fn add_to(&self, found: &mut Inventory) {
        self.ranges()
            .for_each(|(start, size)| found.keep(start, size));
        self.add_apics(found);
        self.add_timer_and_buses(found);
    }

    /// Adds the harts and interrupt controllers on the Multiple APIC Description
    /// Table (ACPI 5.2.12). A hart that is not enabled does not exist, or could be
    /// plugged in later ("online capable"): it is passed over.
    fn add_apics(&self, found: &mut Inventory) {
        const ENABLED: u32 = 1;
        const LOCAL: u8 = 0;
        const SHARED: u8 = 1;
        const LOCAL_ADDRESS: u8 = 5;
        const LOCAL_X2: u8 = 9;
        let Some(madt) = self.find(b"APIC") else {
            return;
        };
        let records = |wanted| {
            madt.records(44)
                .filter(move |record| record.u8(0) == Some(wanted))
        };
        let wide = records(LOCAL_ADDRESS).find_map(|record| record.u64(4));
        let local = wide.or(madt.u32(36).map(u64::from));
        let shared = records(SHARED).filter_map(|record| record.u32(4).map(u64::from));
        for paddr in local.into_iter().chain(shared) {
            found.add_device(paddr as usize, PAGE_SIZE);
        }
        let old = records(LOCAL).map(|hart| (hart.u8(3).map(u32::from), hart.u32(4)));
        let new = records(LOCAL_X2).map(|hart| (hart.u32(4), hart.u32(8)));
        for (id, flags) in old.chain(new) {
            if let (Some(id), Some(flags)) = (id, flags)
                && flags & ENABLED != 0
            {
                found.add_hart(id as HartId);
            }
        }
    }

    /// Adds the registers of the High Precision Event Timer, and PCI Express's
    /// configuration space, a MiB a bus (PCI Firmware Specification 4.1.2).
    fn add_timer_and_buses(&self, found: &mut Inventory) {
        if let Some(hpet) = self.find(b"HPET").and_then(|table| table.u64(44)) {
            found.add_device(hpet as usize, PAGE_SIZE);
        }
        let Some(mcfg) = self.find(b"MCFG") else {
            return;
        };
        for offset in (44..).step_by(16) {
            let (Some(base), Some(first), Some(last)) =
                (mcfg.u64(offset), mcfg.u8(offset + 10), mcfg.u8(offset + 11))
            else {
                return;
            };
            let buses = usize::from(last.saturating_sub(first)) + 1;
            let start = (base as usize).saturating_add(usize::from(first) << 20);
            found.add_device(start, buses << 20);
        }
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    let add = |sum: u8, &byte| sum.wrapping_add(byte);
    bytes.iter().fold(0, add)
}

#[cfg(test)]
mod tests;
