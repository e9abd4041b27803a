//! The descriptor tables: which code a hart runs with which rights, where it
//! goes on a trap, and on which stack.
//!
//! Each hart has segment descriptors and a task-state segment of its own, the
//! interrupt descriptor table is one for all.

use spin::Once;
use x86::bits64::task::TaskStateSegment;
use x86::dtables::{DescriptorTablePointer, lgdt, lidt};
use x86::segmentation::SegmentSelector;

use crate::hart::{EMERGENCY_SIZE, emergency_stack};

use super::trap::{DOUBLE_FAULT, NMI, VECTORS, vector_entry};

/// The selectors of the first two descriptors are those the boot code has
/// loaded: code and data, of every address (SDM 3.4.5). They are marked as
/// accessed. The last two are the task-state segment's (SDM 8.2.3).
#[percpu::def_percpu]
static SEGMENTS: [u64; 5] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0];

/// Selectors: an offset into the table each.
const CODE: u16 = 8;
const TASK: u16 = 24;

/// What of it is used: the stacks of those traps that cannot trust the
/// interrupted one.
#[percpu::def_percpu]
static TASK_STATE: TaskStateSegment = TaskStateSegment::new();

static INTERRUPTS: Once<[u128; VECTORS]> = Once::new();

/// Loads this hart's tables.
pub fn load() {
    let tss = TASK_STATE.with_current(|tss| {
        // Two neighbours: a double fault's report can be interrupted.
        let end = emergency_stack();
        tss.set_ist(0, end as u64);
        tss.set_ist(1, (end + EMERGENCY_SIZE) as u64);
        // No map of I/O ports behind it: the kernel alone may use them.
        tss.iomap_base = size_of::<TaskStateSegment>() as u16;
        &raw const *tss as u64
    });
    SEGMENTS.with_current(|segments| {
        segments[3] = task_descriptor(tss);
        segments[4] = tss >> 32;
        // SAFETY: the descriptors are this hart's for good, and hold, under the
        // selectors in use, what is in use already. The task-state segment is as
        // long as its descriptor says.
        unsafe {
            lgdt(&DescriptorTablePointer::new(segments));
            x86::task::load_tr(SegmentSelector::from_raw(TASK));
        }
    });
    let gates = INTERRUPTS.call_once(interrupt_gates);
    // SAFETY: each gate leads to the entry of its vector.
    unsafe { lidt(&DescriptorTablePointer::new(gates)) };
}

/// The lower half of a descriptor of an available 64-bit task-state segment.
fn task_descriptor(base: u64) -> u64 {
    const PRESENT: u64 = 1 << 47;
    const AVAILABLE: u64 = 0b1001 << 40;
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    limit | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56 | PRESENT | AVAILABLE
}

/// A gate for each vector (SDM 7.14.1), which keeps interrupts out.
fn interrupt_gates() -> [u128; VECTORS] {
    const PRESENT: u128 = 1 << 47;
    const INTERRUPT: u128 = 0b1110 << 40;
    core::array::from_fn(|vector| {
        let entry = vector_entry(vector) as u128;
        let stack = match vector {
            DOUBLE_FAULT => 1,
            NMI => 2,
            _ => 0,
        };
        entry & 0xffff
            | u128::from(CODE) << 16
            | stack << 32
            | INTERRUPT
            | PRESENT
            | (entry >> 16) << 48
    })
}
