//! The descriptor tables: the rights that a hart's code has, where a trap goes, and on which
//! stack.
//!
//! Each hart has segment descriptors and a task-state segment of its own. All share one
//! interrupt descriptor table.

use spin::Once;
use x86::bits64::task::TaskStateSegment;
use x86::dtables::{DescriptorTablePointer, lgdt, lidt};
use x86::segmentation::SegmentSelector;

/// The number of vectors with an entry: the 32 exceptions, and 16 interrupts.
pub const VECTORS: usize = 48;
/// The non-maskable interrupt (SDM table 7-1). It has a stack of its own.
pub const NMI: usize = 2;
/// The breakpoint instruction.
const BREAKPOINT: usize = 3;
/// A fault while the hart pushed another trap's frame. It has a stack of its own.
pub const DOUBLE_FAULT: usize = 8;

/// The segment descriptors. Behind the null descriptor are code and data of all addresses, at
/// the selectors that the boot code has loaded, and marked as accessed (SDM 3.4.5). Then come data
/// and code of user programs, in the order in which `sysret` finds them. The last two words are the
/// descriptor of the task-state segment (SDM 8.2.3).
#[percpu::def_percpu]
static SEGMENTS: [u64; 7] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
    0,
];

/// Selectors, which are byte offsets into the table.
const CODE: u16 = 8;
const TASK: u16 = 40;

/// The task-state segment. The kernel uses it for the stacks of traps that cannot trust the
/// interrupted stack, and for traps from user mode. The entry of system calls reads it, as
/// `__PERCPU_TASK_STATE`.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static TASK_STATE: TaskStateSegment = TaskStateSegment::new();

static INTERRUPTS: Once<[u128; VECTORS]> = Once::new();

/// Loads this hart's tables. `entry` returns the address of a vector's trap entry. The stacks of
/// double faults and of NMIs have these ends.
pub fn load(entry: fn(usize) -> usize, double_fault_stack: usize, nmi_stack: usize) {
    let tss = TASK_STATE.with_current(|tss| {
        tss.set_ist(0, double_fault_stack as u64);
        tss.set_ist(1, nmi_stack as u64);
        // There is no map of I/O ports behind the segment: only the kernel may use ports.
        tss.iomap_base = size_of::<TaskStateSegment>() as u16;
        &raw const *tss as u64
    });
    SEGMENTS.with_current(|segments| {
        segments[5] = task_descriptor(tss);
        segments[6] = tss >> 32;
        // SAFETY: the descriptors belong to this hart and are never freed. At the selectors
        // in use they equal those that the boot code has loaded. The task-state segment is
        // as long as its descriptor says.
        unsafe {
            lgdt(&DescriptorTablePointer::new(segments));
            x86::task::load_tr(SegmentSelector::from_raw(TASK));
            // No local table. After a reset there is one, at address 0, where a user program may have
            // memory (SDM table 10-1).
            x86::dtables::load_ldtr(SegmentSelector::from_raw(0));
        }
    });
    let gates = INTERRUPTS.call_once(|| interrupt_gates(entry));
    // SAFETY: the table is never freed, and each gate leads to the entry of its vector.
    unsafe { lidt(&DescriptorTablePointer::new(gates)) };
}

/// Sets the end of the memory to which a trap from user mode pushes its first words. Called with
/// interrupts off.
#[cfg(feature = "uspace")]
pub fn set_user_trap_stack(end: usize) {
    TASK_STATE.with_current(|tss| tss.set_rsp(x86::Ring::Ring0, end as u64));
}

/// Returns the lower half of a descriptor of an available 64-bit task-state segment.
fn task_descriptor(base: u64) -> u64 {
    const PRESENT: u64 = 1 << 47;
    const AVAILABLE: u64 = 0b1001 << 40;
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    limit | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56 | PRESENT | AVAILABLE
}

/// Returns a gate for each vector (SDM 7.14.1). A gate turns interrupts off.
fn interrupt_gates(entry: fn(usize) -> usize) -> [u128; VECTORS] {
    const PRESENT: u128 = 1 << 47;
    const INTERRUPT: u128 = 0b1110 << 40;
    core::array::from_fn(|vector| {
        let entry = entry(vector) as u128;
        // A program may use the breakpoint instruction. Any other vector it cannot call.
        let level = if vector == BREAKPOINT { 3 } else { 0 };
        let stack = match vector {
            DOUBLE_FAULT => 1,
            NMI => 2,
            _ => 0,
        };
        entry & 0xffff
            | u128::from(CODE) << 16
            | stack << 32
            | level << 45
            | INTERRUPT
            | PRESENT
            | (entry >> 16) << 48
    })
}
