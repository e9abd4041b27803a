//! Finds ACPI tables, checks them, and reads their fields by offset.
//!
//! This is own code because the crate `acpi` 6 needs a nightly compiler. Some tables hold
//! programs in the language AML, which is not interpreted. The offsets are from the ACPI
//! Specification, chapter 5, "ACPI Software Programming Model".

use axconfig::PAGE_SIZE;

use crate::{HartId, Inventory, RawRange};

/// The size in bytes of the header of every table (ACPI 5.2.6).
const HEADER: usize = 36;
/// The size in bytes of the root system description pointer (ACPI 5.2.5.3).
const POINTER: usize = 36;

/// Returns the bytes at a physical address, for an address and a size in bytes. `None` if
/// they are not mapped.
pub type Read = fn(usize, usize) -> Option<&'static [u8]>;

/// A table whose length and checksum are right, or a record of such a table.
#[derive(Clone, Copy)]
pub struct Table(&'static [u8]);

impl Table {
    /// Returns all bytes of the table, header included.
    pub fn bytes(&self) -> &'static [u8] {
        self.0
    }

    /// Returns the byte at `offset`; `None` if that is past the end of the table.
    fn u8(&self, offset: usize) -> Option<u8> {
        self.0.get(offset).copied()
    }

    /// Returns the little-endian 32-bit number at `offset`.
    pub fn u32(&self, offset: usize) -> Option<u32> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    /// Returns the little-endian 64-bit number at `offset`.
    fn u64(&self, offset: usize) -> Option<u64> {
        let bytes = self.0.get(offset..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Returns the records from `offset` to the end of the table. Each record begins with a
    /// type byte and a length byte.
    fn records(&self, offset: usize) -> impl Iterator<Item = Table> {
        let mut rest = self.0.get(offset..).unwrap_or_default();
        core::iter::from_fn(move || {
            let length = usize::from(*rest.get(1)?).max(2);
            let (record, remaining) = rest.split_at_checked(length)?;
            rest = remaining;
            Some(Table(record))
        })
    }
}

/// The list of tables: the XSDT, or the RSDT of ACPI 1.0.
#[derive(Clone, Copy)]
pub struct Tables {
    read: Read,
    /// The physical address of the root system description pointer.
    pointer: usize,
    /// The physical address of the list.
    list: usize,
    /// The size in bytes of an entry of the list, which is a physical address: 4 or 8.
    entry_size: usize,
}

impl Tables {
    /// Returns the tables of the root system description pointer at the physical address
    /// `pointer` (ACPI 5.2.5). `None` if the pointer or its list of tables is not valid.
    pub fn new(read: Read, pointer: usize) -> Option<Self> {
        let version_1 = Table(read(pointer, 20)?);
        if !version_1.0.starts_with(b"RSD PTR ") || checksum(version_1.0) != 0 {
            return None;
        }
        let tables = |list, entry_size| {
            let tables = Self {
                read,
                pointer,
                list,
                entry_size,
            };
            tables.at(list).map(|_| tables)
        };
        let version_2 = Table(read(pointer, POINTER)?);
        let list = version_2.u64(24).filter(|_| version_1.u8(15) >= Some(2));
        list.and_then(|list| tables(list as usize, 8))
            .or_else(|| tables(version_1.u32(16)? as usize, 4))
    }

    /// Returns the table at the physical address `paddr`, if its length and checksum are
    /// right.
    fn at(&self, paddr: usize) -> Option<Table> {
        let length = Table((self.read)(paddr, HEADER)?).u32(4)? as usize;
        (self.read)(paddr, length)
            .filter(|table| length >= HEADER && checksum(table) == 0)
            .map(Table)
    }

    /// Returns the physical addresses of the tables on the list.
    fn addresses(&self) -> impl Iterator<Item = usize> {
        let entry_size = self.entry_size;
        let list = self.at(self.list);
        let offsets = (HEADER..).step_by(entry_size);
        offsets.map_while(move |offset| match entry_size {
            4 => list?.u32(offset).map(|paddr| paddr as usize),
            _ => list?.u64(offset).map(|paddr| paddr as usize),
        })
    }

    /// Returns the first valid table with this signature.
    fn find(&self, signature: &[u8; 4]) -> Option<Table> {
        let mut tables = self.addresses().filter_map(|paddr| self.at(paddr));
        tables.find(|table| table.0.starts_with(signature))
    }

    /// Returns the Fixed ACPI Description Table (ACPI 5.2.9).
    pub fn fadt(&self) -> Option<Table> {
        self.find(b"FACP")
    }

    /// Returns the Differentiated System Description Table, whose body is an AML program.
    pub fn dsdt(&self) -> Option<Table> {
        self.at(self.dsdt_address()?)
    }

    fn dsdt_address(&self) -> Option<usize> {
        let fadt = self.fadt()?;
        let wide = fadt.u64(140).filter(|&paddr| paddr != 0);
        Some(wide.or(fadt.u32(40).map(u64::from))? as usize)
    }

    /// Returns the physical ranges of everything that is read here: the pointer, the list,
    /// the tables on the list, and the DSDT, which only the FADT names. Of an invalid table
    /// only the header is read.
    fn ranges(&self) -> impl Iterator<Item = RawRange> {
        let unlisted = [Some(self.list), self.dsdt_address()];
        let tables = unlisted.into_iter().flatten().chain(self.addresses());
        let length = |paddr| self.at(paddr).map_or(HEADER, |table| table.0.len());
        let tables = tables.map(move |paddr| (paddr, length(paddr)));
        [(self.pointer, POINTER)].into_iter().chain(tables)
    }

    /// Reserves the tables, and adds the harts and devices that they describe. The devices
    /// that the kernel uses come first, so that a full list contains them.
    pub fn add_to(&self, found: &mut Inventory) {
        self.ranges()
            .for_each(|(start, size)| found.reserve_mapped(start, size));
        self.add_apics(found);
        self.add_timer_and_buses(found);
    }

    /// Adds the harts and interrupt controllers of the Multiple APIC Description Table (ACPI
    /// 5.2.12). A hart that is not enabled is skipped: it does not exist, or it could be
    /// plugged in later ("online capable").
    fn add_apics(&self, found: &mut Inventory) {
        const ENABLED: u32 = 1;
        // Types of records.
        const LOCAL_APIC: u8 = 0;
        const IO_APIC: u8 = 1;
        const LOCAL_APIC_ADDRESS: u8 = 5;
        const LOCAL_X2APIC: u8 = 9;
        let Some(madt) = self.find(b"APIC") else {
            return;
        };
        let records = |wanted| {
            madt.records(44)
                .filter(move |record| record.u8(0) == Some(wanted))
        };
        let wide = records(LOCAL_APIC_ADDRESS).find_map(|record| record.u64(4));
        let local = wide.or(madt.u32(36).map(u64::from));
        let io = records(IO_APIC).filter_map(|record| record.u32(4).map(u64::from));
        for paddr in local.into_iter().chain(io) {
            found.add_device(paddr as usize, PAGE_SIZE);
        }
        let apics = records(LOCAL_APIC).map(|hart| (hart.u8(3).map(u32::from), hart.u32(4)));
        let x2apics = records(LOCAL_X2APIC).map(|hart| (hart.u32(4), hart.u32(8)));
        for (id, flags) in apics.chain(x2apics) {
            if let (Some(id), Some(flags)) = (id, flags)
                && flags & ENABLED != 0
            {
                found.add_hart(id as HartId);
            }
        }
    }

    /// Adds the registers of the High Precision Event Timer, and the configuration space of
    /// PCI Express, which has 1 MiB for each bus (PCI Firmware Specification 4.1.2).
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
