use std::boxed::Box;
use std::cell::Cell;
use std::vec::Vec;

use super::{HEADER, Inventory, Tables, checksum};

/// The physical address of the memory that holds the tables.
const BASE: usize = 0x10_0000;

thread_local! {
    /// The memory of the test that runs on this thread.
    static MEMORY: Cell<&'static [u8]> = const { Cell::new(&[]) };
}

fn read(paddr: usize, length: usize) -> Option<&'static [u8]> {
    let start = paddr.checked_sub(BASE)?;
    MEMORY.get().get(start..)?.get(..length)
}

fn tables(memory: Vec<u8>) -> Option<Tables> {
    MEMORY.set(Box::leak(memory.into_boxed_slice()));
    Tables::new(read, BASE)
}

/// Sets the byte at `at` so that the sum of all bytes is 0.
fn with_checksum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] = bytes[at].wrapping_sub(checksum(&bytes));
    bytes
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = vec![0; HEADER];
    table[..4].copy_from_slice(signature);
    table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
    table.extend(body);
    with_checksum(table, 9)
}

/// Returns the memory of a machine: the pointer, the list, then the tables.
fn machine(tables: &[Vec<u8>]) -> Vec<u8> {
    let list_at = BASE + 64;
    let mut at = list_at + HEADER + 8 * tables.len();
    let mut addresses: Vec<u8> = Vec::new();
    for table in tables {
        addresses.extend((at as u64).to_le_bytes());
        at += table.len();
    }
    let mut pointer = b"RSD PTR \0TESTER\x02".to_vec();
    pointer.resize(20, 0);
    let mut pointer = with_checksum(pointer, 8);
    pointer.extend(36_u32.to_le_bytes());
    pointer.extend((list_at as u64).to_le_bytes());
    pointer.resize(64, 0);
    [pointer, table(b"XSDT", &addresses), tables.concat()].concat()
}

/// Returns a MADT with the local APIC at 0xfee00000 and these records.
fn madt(records: &[&[u8]]) -> Vec<u8> {
    let mut body = 0xfee0_0000_u32.to_le_bytes().to_vec();
    body.extend([0; 4]);
    body.extend(records.concat());
    table(b"APIC", &body)
}

fn inventory(memory: Vec<u8>) -> Inventory {
    let mut found = Inventory::new(0);
    found.add_ram(0, 0x20_0000);
    tables(memory).unwrap().add_to(&mut found);
    found
}

#[test]
fn only_harts_that_are_enabled_are_counted() {
    const ENABLED: u8 = 1;
    const ONLINE_CAPABLE: u8 = 2;
    let apic = |id, flags| [0, 8, 0, id, flags, 0, 0, 0];
    let x2apic = |id: u16, flags| {
        let [low, high] = id.to_le_bytes();
        [9, 16, 0, 0, low, high, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0]
    };
    let found = inventory(machine(&[madt(&[
        &apic(0, ENABLED),
        &apic(1, 0),
        &apic(2, ONLINE_CAPABLE),
        &apic(3, ENABLED | ONLINE_CAPABLE),
        &x2apic(0x123, ENABLED),
        &x2apic(0x124, ONLINE_CAPABLE),
        // This record is cut off.
        &[0, 8, 0, 9],
    ])]));
    assert_eq!(found.harts(), [0, 3, 0x123]);
}

/// The address of the local APIC is in the table's header, or in a record that replaces it.
/// The list must contain it although there are 199 I/O APICs.
#[test]
fn the_local_apic_is_in_a_full_list() {
    let io = |n: u32| {
        let mut record = vec![1, 12, n as u8, 0];
        record.extend(
            (0x1_0000_0000_u64 as u32)
                .wrapping_add(n * 0x1_0000)
                .to_le_bytes(),
        );
        record.extend([0; 4]);
        record
    };
    let io_apics: Vec<Vec<u8>> = (1..200).map(|n| io(n + 0x1000)).collect();
    let mut records: Vec<&[u8]> = io_apics.iter().map(Vec::as_slice).collect();
    let found = inventory(machine(&[madt(&records)]));
    assert!(found.devices().contains(&(0xfee0_0000, 0x1000)));
    assert_eq!(found.devices().len(), 64);
    let mut address = vec![5, 12, 0, 0];
    address.extend(0x12_3456_7000_u64.to_le_bytes());
    records.push(&address);
    let found = inventory(machine(&[madt(&records)]));
    assert!(found.devices().contains(&(0x12_3456_7000, 0x1000)));
}

#[test]
fn all_tables_that_are_read_are_mapped() {
    let tables: Vec<Vec<u8>> = (0..200).map(|_| table(b"SSDT", &[0; 5000])).collect();
    let memory = machine(&tables);
    let size = memory.len().next_multiple_of(0x1000);
    let found = inventory(memory);
    assert_eq!(found.mapped_reserved(), [(BASE, size)]);
}

/// A table with a wrong checksum is not used, but its header is read.
#[test]
fn the_header_of_a_damaged_table_is_mapped() {
    let mut bad = table(b"APIC", &[0; 0x3000]);
    bad[HEADER] = 1;
    let memory = machine(&[bad]);
    let found = inventory(memory);
    assert_eq!(found.mapped_reserved(), [(BASE, 0x1000)]);
    assert!(found.devices().is_empty());
}

#[test]
fn damaged_tables_are_read_without_a_panic() {
    let blob = machine(&[
        madt(&[
            &[0, 8, 0, 1, 1, 0, 0, 0],
            &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        ]),
        table(b"FACP", &[0xff; 200]),
        table(b"MCFG", &[0xff; 40]),
        table(b"HPET", &[0xff; 30]),
    ]);
    for index in 0..blob.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = blob.clone();
            damaged[index] = value;
            if let Some(tables) = tables(damaged) {
                tables.add_to(&mut Inventory::new(0));
                tables.dsdt();
            }
        }
    }
    assert!(tables(Vec::new()).is_none());
}
