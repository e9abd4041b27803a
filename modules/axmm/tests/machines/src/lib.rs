//! Machines of every page-table format, and what they are asked to forget; a model
//! of what an address space does ([`model`]), and scripts of operations for both.
//!
//! axmm's tests and its fuzz targets use it.

pub mod code;
pub mod copies;
pub mod memory;
pub mod model;
pub mod raw;
mod script;
pub mod stale;
pub mod targets;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{UsageKind, add_memory, host, usage};
use axerrno::AxResult;
use axmm::{AddrSpace, Machine, MappingFlags, VirtAddr};
use memory_addr::PhysAddr;
use page_table_formats::aarch64::A64PTE;
use page_table_formats::loongarch64::LA64PTE;
use page_table_formats::riscv::Rv64PTE;
use page_table_formats::x86_64::X64PTE;
use page_table_multiarch::{GenericPTE, PagingMetaData};

use raw::{Format, Memory, Raw, RawPage, Rights, walk};

pub const KIB4: usize = 4 << 10;
pub const MIB2: usize = 2 << 20;
pub const GIB: usize = 1 << 30;

pub const NONE: MappingFlags = MappingFlags::empty();
pub const RO: MappingFlags = MappingFlags::READ;
pub const WRITE: MappingFlags = MappingFlags::WRITE;
pub const EXECUTE: MappingFlags = MappingFlags::EXECUTE;
pub const RW: MappingFlags = RO.union(WRITE);
pub const RX: MappingFlags = RO.union(EXECUTE);
pub const DEVICE: MappingFlags = RW.union(MappingFlags::DEVICE);
pub const UNCACHED: MappingFlags = RW.union(MappingFlags::UNCACHED);

/// The frames there are.
pub const RAM: Range<usize> = GIB..GIB + (16 << 20);

/// A machine that tests build tables for.
pub trait TestMachine: Machine {
    const NAME: &'static str;
    /// Where its kernel half begins.
    const HIGH: usize;
    /// What addresses there have above the bits that the table resolves.
    const ABOVE: usize;
    /// The bits of a physical address.
    const PHYS_BITS: u32;

    type Raw: Format;

    /// What memory is, of what it was asked to be.
    fn memory(asked: MappingFlags) -> Memory;

    fn walk(aspace: &AddrSpace<Self>) -> Result<Raw, String>
    where
        Self: Sized,
    {
        Self::walk_from(aspace.page_table_root().as_usize())
    }

    fn walk_from(root: usize) -> Result<Raw, String> {
        walk::<Self::Raw>(root, Self::ABOVE)
    }

    /// An address in the kernel half. A GiB on, tables of all levels end.
    fn base() -> usize {
        match Self::Raw::LEVELS {
            3 => Self::HIGH + 200 * GIB,
            _ => Self::HIGH + 511 * GIB,
        }
    }

    /// What hardware reads, of rights that a kernel mapping can have.
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

    /// What hardware reads, of rights that a user's mapping can have.
    fn users_rights(asked: MappingFlags) -> Rights {
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

/// A table's shape. `page_table_multiarch` has each only for the machine itself.
/// With `HALVES` the highest bit it resolves is that of all above; without, they
/// are all alike, and choose one of two tables.
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
        unreachable!("the address space says what to forget");
    }
}

/// Entries that say whose they are: a bit for the kernel's, or for all others.
pub trait Marked: GenericPTE + 'static {
    const KERNELS: u64 = 0;
    const USERS: u64 = 0;
}

impl Marked for X64PTE {
    const KERNELS: u64 = 1 << 8;
}

impl Marked for Rv64PTE {
    const KERNELS: u64 = 1 << 5;
}

impl Marked for A64PTE {
    const USERS: u64 = 1 << 11;
}

impl Marked for LA64PTE {}

/// A machine with this shape and these entries, whose flushes are on record. It has one
/// hart, and is not `Sync`.
pub struct Recorded<Meta, Pte>(PhantomData<(Meta, Pte, *const ())>);

// SAFETY: as it says.
unsafe impl<Meta, Pte> Machine for Recorded<Meta, Pte>
where
    Meta: PagingMetaData<VirtAddr = VirtAddr> + 'static,
    Pte: Marked,
{
    type Meta = Meta;
    type Pte = Pte;

    fn largest_page() -> usize {
        GIB
    }

    fn publish_entries() {}

    fn page_mark(kernel: bool) -> u64 {
        if kernel { Pte::KERNELS } else { Pte::USERS }
    }

    fn flush(_harts: u64, pages: Range<usize>) {
        axalloc::fault::paused(|| TLB.with_borrow_mut(|tlb| tlb.forget(pages)));
    }

    fn flush_local(pages: Range<usize>) {
        axalloc::fault::paused(|| {
            TLB.with_borrow_mut(|tlb| {
                if tlb.on {
                    tlb.here.push(pages);
                }
            });
        });
    }

    fn needs_cleaning() -> bool {
        true
    }

    fn clean_code(paddr: PhysAddr, len: usize) {
        let start = paddr.as_usize();
        code::happened(code::Event::Cleaned(start..start + len));
    }

    fn sync_icache() {
        code::happened(code::Event::Synced(code::executable()));
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        let len = copies::until_fault(from.addr(), len).min(copies::until_fault(to.addr(), len));
        // SAFETY: the caller's promise, of fewer bytes.
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
            // The table's own highest bit is set there, but on an Arm, whose two
            // tables resolve all 48 bits.
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

// What is not write-back is uncacheable.
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
// Without Svpbmt the platform knows what an address is.
machine!(Sv39, raw::Sv<3>, 0xffff_ffc0_0000_0000, 39, 56, |_, _| {
    Memory::Normal
});
machine!(Sv48, raw::Sv<4>, 0xffff_8000_0000_0000, 48, 56, |_, _| {
    Memory::Normal
});
machine!(A64, raw::A64, 0xffff_0000_0000_0000, 48, 48, as_asked);
machine!(La64, raw::La64, 0xffff_8000_0000_0000, 48, 48, as_asked);

/// One test at a time, so that usage is its own doing; with memory.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(RAM.start, RAM.len()).unwrap();
        // SAFETY: it is mapped for good, and for nothing else.
        unsafe { add_memory(&[memory]) }.unwrap();
    });
    alone
}

/// Frames of pages, and of tables, that are in use.
pub fn frames() -> (usize, usize) {
    let usage = usage();
    (usage.of(UsageKind::VirtMem), usage.of(UsageKind::PageTable))
}

/// Mappings of physical addresses that no test has references to as it copies.
pub trait MapPhysical {
    /// Maps `size` bytes from `start` on to those from `to` on.
    fn map_physical(
        &self,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        self.map_physical_named("linear", start, to, size, flags)
    }

    /// Maps `size` bytes from `start` on to those from `to` on, under a name.
    fn map_physical_named(
        &self,
        name: &'static str,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult;
}

impl<M: Machine> MapPhysical for AddrSpace<M> {
    fn map_physical_named(
        &self,
        name: &'static str,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        // SAFETY: the physical addresses are a device's of a simulated machine, or frames of
        // a test that keeps no reference to them while it copies.
        unsafe { self.map_linear_named(name, start, to, size, flags) }
    }
}

pub fn virt(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

pub fn phys(addr: usize) -> PhysAddr {
    PhysAddr::from_usize(addr)
}

/// The bytes of a frame, which is mapped and nobody else's in a test.
pub fn words(frame: usize) -> &'static mut [u64] {
    assert!(RAM.contains(&frame), "{frame:#x} is no frame");
    let start = std::ptr::with_exposed_provenance_mut(axconfig::PHYS_VIRT_OFFSET + frame);
    // SAFETY: the frame lies in the linear mapping, for good; whoever asks has
    // the only address space that maps it, and keeps no other slice of it.
    unsafe { std::slice::from_raw_parts_mut(start, KIB4 / 8) }
}

/// The same, as bytes.
pub fn bytes(frame: usize) -> &'static mut [u8] {
    let words = words(frame);
    // SAFETY: words are bytes, and whoever asks keeps no other slice of them.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), KIB4) }
}

pub type Walk = fn(usize) -> Result<Raw, String>;

/// What is forgotten where a table goes.
pub const EVERYTHING: Range<usize> = 0..usize::MAX;

thread_local! {
    pub static TLB: RefCell<Tlb> = RefCell::default();
}

/// Another hart's TLB, which has every translation that was there before an
/// operation: what of it is left must be right after, and no frame of it may be
/// free before.
#[derive(Debug, Default)]
pub struct Tlb {
    /// Whether anything is on record. If not, nothing is allocated.
    on: bool,
    /// A root, and what is to walk it whenever something is forgotten.
    pub watch: Option<(usize, Walk)>,
    pub watched: Vec<Raw>,
    before: Rc<Raw>,
    frames: (usize, usize),
    /// How many small pages with frames of their own were forgotten.
    forgotten: usize,
    /// Whether the way to tables was.
    all_forgotten: bool,
    pub flushes: Vec<Range<usize>>,
    pub here: Vec<Range<usize>>,
    wrong: Option<String>,
}

impl Tlb {
    /// Knows everything that `raw` says.
    pub fn know(raw: &Rc<Raw>) {
        TLB.set(Self {
            on: true,
            before: Rc::clone(raw),
            frames: frames(),
            ..Self::default()
        });
    }

    /// The address space goes as a whole: no hart uses its root any more.
    pub fn root_goes() {
        TLB.with_borrow_mut(|tlb| tlb.frames.1 -= 1);
    }

    /// Says whether anyone was made to forget anything, which nobody knows who has not
    /// entered the address space.
    pub fn was_not_asked() -> Result<(), String> {
        let flushes = TLB.with_borrow_mut(|tlb| std::mem::take(&mut tlb.flushes));
        match flushes.is_empty() {
            true => Ok(()),
            false => Err(format!("nobody knows {flushes:x?}")),
        }
    }

    fn check_frames(&mut self) {
        let (pages, tables) = frames();
        if pages + self.forgotten < self.frames.0 {
            self.wrong = Some("a frame is free that a hart reaches".into());
        }
        if tables < self.frames.1 && !self.all_forgotten {
            self.wrong = Some("a table is free that a hart may walk".into());
        }
    }

    fn forget(&mut self, pages: Range<usize>) {
        if !self.on {
            return;
        }
        if let Some((root, walk)) = self.watch {
            self.watched.push(walk(root).unwrap());
        }
        self.check_frames();
        let known = |page: &&RawPage| !self.flushes.iter().any(|flush| page.overlaps(flush));
        let gone = self.before.within(&pages).iter().filter(known);
        let own = gone.filter(|page| RAM.contains(&page.paddr));
        let bytes =
            |page: &RawPage| (page.vaddr + page.size).min(pages.end) - page.vaddr.max(pages.start);
        self.forgotten += own.map(bytes).sum::<usize>() / KIB4;
        self.all_forgotten |= pages == EVERYTHING;
        self.flushes.push(pages);
    }

    /// Says what is wrong, if the table now is `after`. What `failed` may have
    /// mapped something meanwhile.
    pub fn check(after: &Raw, failed: bool) -> Result<Vec<Range<usize>>, String> {
        TLB.with_borrow_mut(|tlb| {
            tlb.check_frames();
            if let Some(wrong) = tlb.wrong.take() {
                return Err(wrong);
            }
            let (before, after) = (&tlb.before, after);
            let mut changed = before.pages.iter().filter(|page| !after.has(page));
            let same = before.pages == after.pages;
            // Who knows that less may be done than can be finds out by a page fault.
            let harmless = |page: &RawPage| after.pages.iter().any(|now| now.allows_all_of(page));
            let known = |page: &&RawPage| {
                !harmless(page) && !tlb.flushes.iter().any(|flush| page.overlaps(flush))
            };
            if !same && let Some(page) = changed.find(known) {
                return Err(format!("a hart still knows {page:x?}"));
            }
            let tables_went = after.tables.len() < before.tables.len();
            for flush in &tlb.flushes {
                let all_same = same || before.within(flush).iter().all(|page| after.has(page));
                if all_same && !failed && !tables_went {
                    return Err(format!("nothing was to be forgotten in {flush:x?}"));
                }
            }
            Ok(std::mem::take(&mut tlb.flushes))
        })
    }
}
