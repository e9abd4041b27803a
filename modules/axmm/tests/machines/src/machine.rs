//! A machine for each page-table format, with one hart whose flushes are recorded.

use std::marker::PhantomData;
use std::ops::Range;

use axmm::{AddrSpace, Machine, MappingFlags, VirtAddr};
use memory_addr::PhysAddr;
use page_table_formats::aarch64::A64PTE;
use page_table_formats::loongarch64::LA64PTE;
use page_table_formats::riscv::Rv64PTE;
use page_table_formats::x86_64::X64PTE;
use page_table_multiarch::{GenericPTE, PagingMetaData};

use crate::raw::{self, Format, Memory, Raw, Rights, walk};
use crate::tlb::TLB;
use crate::{EXECUTE, GIB, WRITE, code, copies};

/// A machine that tests make page tables for.
pub trait TestMachine: Machine {
    const NAME: &'static str;
    /// The lowest address of the kernel half.
    const HIGH: usize;
    /// The address bits above those that the table resolves, as kernel addresses have them.
    const ABOVE: usize;
    /// The number of bits of a physical address.
    const PHYS_BITS: u32;

    /// The reader of this page-table format.
    type Raw: Format;

    /// Returns the kind of memory that hardware reads from a page mapped with these flags.
    fn memory(asked: MappingFlags) -> Memory;

    /// Reads the page table of `aspace` as hardware does.
    ///
    /// # Errors
    ///
    /// Fails if an entry is reserved or wrong.
    fn walk(aspace: &AddrSpace<Self>) -> Result<Raw, String>
    where
        Self: Sized,
    {
        Self::walk_from(aspace.page_table_root().as_usize())
    }

    /// Reads the page table whose root has this physical address.
    ///
    /// # Errors
    ///
    /// Fails if an entry is reserved or wrong.
    fn walk_from(root: usize) -> Result<Raw, String> {
        walk::<Self::Raw>(root, Self::ABOVE)
    }

    /// Returns the physical address that hardware translates `addr` to. `None` if no page is
    /// there.
    fn translate(aspace: &AddrSpace<Self>, addr: usize) -> Option<usize>
    where
        Self: Sized,
    {
        let raw = Self::walk(aspace).expect("the page table is correct");
        let page = raw.within(&(addr..addr + 1)).first()?;
        Some(page.paddr + (addr - page.vaddr))
    }

    /// Returns an address in the kernel half. Tables of all levels end one GiB above it.
    fn base() -> usize {
        match Self::Raw::LEVELS {
            3 => Self::HIGH + 200 * GIB,
            _ => Self::HIGH + 511 * GIB,
        }
    }

    /// Returns the rights that hardware reads from a kernel page with these flags.
    fn rights(asked: MappingFlags) -> Rights {
        if asked.is_empty() {
            return Rights::default();
        }
        Rights {
            read: true,
            write: asked.contains(WRITE),
            execute: asked.contains(EXECUTE),
            user: false,
            global: true,
            memory: Self::memory(asked),
        }
    }

    /// Returns the rights that hardware reads from a user program's page with these flags.
    fn user_rights(asked: MappingFlags) -> Rights {
        if asked.is_empty() {
            return Rights::default();
        }
        Rights {
            user: asked.contains(MappingFlags::USER),
            global: Self::Raw::ALL_GLOBAL,
            ..Self::rights(asked)
        }
    }
}

/// The shape of a page table, for any host: `page_table_multiarch` has each shape only on the
/// architecture itself. With `HALVES`, all address bits above those that the table resolves
/// equal the highest resolved bit. Without, they are all equal, and select the table of the lower
/// or of the upper half.
pub struct Shape<const LEVELS: usize, const PHYS: usize, const VIRT: usize, const HALVES: bool>;

impl<const LEVELS: usize, const PHYS: usize, const VIRT: usize, const HALVES: bool> PagingMetaData
    for Shape<LEVELS, PHYS, VIRT, HALVES>
{
    const LEVELS: usize = LEVELS;
    const PA_MAX_BITS: usize = PHYS;
    const VA_MAX_BITS: usize = VIRT;
    type VirtAddr = VirtAddr;

    fn vaddr_is_valid(vaddr: usize) -> bool {
        let above = vaddr as isize >> (VIRT - usize::from(HALVES));
        above == 0 || above == -1
    }

    fn flush_tlb(_: Option<VirtAddr>) {
        unreachable!("an address space flushes by its machine alone");
    }
}

/// Page-table entries that say whether a page is global.
pub trait GlobalBit: GenericPTE + 'static {
    /// The bits that every entry of a kernel page has.
    const KERNEL: u64 = 0;
    /// The bits that every entry of a user program's page has.
    const USER: u64 = 0;
}

impl GlobalBit for X64PTE {
    const KERNEL: u64 = 1 << 8;
}

impl GlobalBit for Rv64PTE {
    const KERNEL: u64 = 1 << 5;
}

impl GlobalBit for A64PTE {
    const USER: u64 = 1 << 11;
}

impl GlobalBit for LA64PTE {}

/// A machine with page tables of this shape and these entries. It has one hart, and records
/// the flushes. It is not `Sync`.
pub struct Recorded<Meta, Pte>(PhantomData<(Meta, Pte, *const ())>);

// SAFETY: the machine is not `Sync`, and its only hart always has the number 0.
unsafe impl<Meta, Pte> Machine for Recorded<Meta, Pte>
where
    Meta: PagingMetaData<VirtAddr = VirtAddr> + 'static,
    Pte: GlobalBit,
{
    type Meta = Meta;
    type Pte = Pte;

    fn largest_page() -> usize {
        GIB
    }

    fn publish_entries() {}

    fn page_mark(kernel: bool) -> u64 {
        if kernel { Pte::KERNEL } else { Pte::USER }
    }

    fn flush(_harts: u64, pages: Range<usize>) {
        axalloc::fault::paused(|| TLB.with_borrow_mut(|tlb| tlb.flush(pages)));
    }

    fn flush_local(pages: Range<usize>) {
        axalloc::fault::paused(|| TLB.with_borrow_mut(|tlb| tlb.note_local_flush(pages)));
    }

    fn needs_cleaning() -> bool {
        true
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        let start = paddr.as_usize();
        code::record(code::Event::Cleaned(start..start + len));
    }

    fn sync_icache() {
        code::record(code::Event::Synced(code::executable()));
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        let len = copies::until_fault(from.addr(), len).min(copies::until_fault(to.addr(), len));
        // SAFETY: the caller allows reading `from` and writing `to` for at least this many
        // bytes; in a process all of them are mapped.
        unsafe { from.copy_to(to, len) };
        len
    }

    type IrqGuard = ();
    type PreemptGuard = ();

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        1
    }

    fn hart() -> usize {
        0
    }

    fn relax(_: usize) {
        std::thread::yield_now();
    }
}

pub type X64 = Recorded<page_table_multiarch::x86_64::X64PagingMetaData, X64PTE>;
pub type Sv39 = Recorded<Shape<3, 56, 39, true>, Rv64PTE>;
pub type Sv48 = Recorded<Shape<4, 56, 48, true>, Rv64PTE>;
pub type A64 = Recorded<Shape<4, 48, 48, false>, A64PTE>;
pub type La64 = Recorded<Shape<4, 48, 48, true>, LA64PTE>;

macro_rules! machine {
    ($machine:ident, $raw:ty, $high:expr, $virt:expr, $phys:expr, $memory:expr) => {
        impl TestMachine for $machine {
            const NAME: &'static str = stringify!($machine);
            const HIGH: usize = $high;
            // In kernel addresses the highest bit that the table resolves is set as well. An
            // Arm has a table for each half, which resolves all 48 bits.
            const ABOVE: usize = usize::MAX << $virt;
            const PHYS_BITS: u32 = $phys;
            type Raw = $raw;

            fn memory(asked: MappingFlags) -> Memory {
                let memory: fn(bool, bool) -> Memory = $memory;
                let device = asked.contains(MappingFlags::DEVICE);
                memory(device, asked.contains(MappingFlags::UNCACHED))
            }
        }
    };
}

fn as_asked(device: bool, uncached: bool) -> Memory {
    match (device, uncached) {
        (true, _) => Memory::Device,
        (_, true) => Memory::Uncached,
        _ => Memory::Normal,
    }
}

// Memory is write-back or uncacheable, as the PAT is after reset.
machine!(
    X64,
    raw::X64,
    0xffff_8000_0000_0000,
    48,
    52,
    |device, uncached| {
        match device || uncached {
            true => Memory::Device,
            false => Memory::Normal,
        }
    }
);
// Without Svpbmt, the platform decides by the physical address which kind memory is.
machine!(Sv39, raw::Sv<3>, 0xffff_ffc0_0000_0000, 39, 56, |_, _| {
    Memory::Normal
});
machine!(Sv48, raw::Sv<4>, 0xffff_8000_0000_0000, 48, 56, |_, _| {
    Memory::Normal
});
machine!(A64, raw::A64, 0xffff_0000_0000_0000, 48, 48, as_asked);
machine!(La64, raw::La64, 0xffff_8000_0000_0000, 48, 48, as_asked);
