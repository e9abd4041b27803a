//! Harts: their numbers, their own data, and how they come up.
//!
//! The kernel counts harts 0, 1, …; 0 is the one that booted. What the hardware
//! calls them is the platform's business ([`hardware_id`]).

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axconfig::{HART_STACK_SLOT, HART_STACKS, hart_stack};

pub use axmachine::hardware_id;

/// The kernel's number of this hart.
#[percpu::def_percpu]
static NUMBER: usize = 0;

/// The lowest stack pointer at which a trap can still be taken on the stack
/// this hart runs on. The trap entries read it, as `__PERCPU_STACK_LIMIT`.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static STACK_LIMIT: usize = 0;

/// The end of the stack on which this hart reports that another stack has overflowed. The
/// trap entries read it, as `__PERCPU_EMERGENCY_STACK`. It is the lowest part of the
/// hart's own first stack: each hart has one, for several may overflow at a time, and what
/// code has left there is not used again, for the machine ends.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static EMERGENCY_STACK: usize = 0;

/// Bytes of a stack for such a report.
pub(crate) const EMERGENCY_SIZE: usize = 8 * 1024;

/// Room that a trap needs on the interrupted stack: the frame, and the calls up
/// to the point where the kernel's own guard page would catch an overflow.
const TRAP_ROOM: usize = 1024;

/// One bit for each hart that has come up.
static ONLINE: AtomicU64 = AtomicU64::new(0);

/// How many harts the machine has, as far as the kernel counts.
static COUNT: AtomicUsize = AtomicUsize::new(1);

/// The number of the hart that runs this.
pub fn this_hart() -> usize {
    NUMBER.read_current()
}

/// Where the data of the hart that runs this begins.
pub fn own_data() -> usize {
    own_data_of(this_hart())
}

/// Where the first hart's own data begins; the others' follow it.
static OWN_DATA: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// Every hart's own data as it is at first. A hart that is alone uses it itself.
    static _percpu_start: u8;
}

fn own_data_of(number: usize) -> usize {
    OWN_DATA.load(Ordering::Relaxed) + number * own_data_size()
}

/// The bytes of a hart's own data, in whole cache lines.
fn own_data_size() -> usize {
    percpu::percpu_area_size().next_multiple_of(64)
}

/// How many harts the machine has, up or not.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// One bit for each hart that is up.
pub fn online() -> u64 {
    ONLINE.load(Ordering::Acquire)
}

/// Whether hart `number` is up.
pub fn is_online(number: usize) -> bool {
    number < 64 && online() & 1 << number != 0
}

/// Gives the first hart its own data and trap vector, and sets room aside for
/// the others. The first thing the kernel does.
///
/// # Safety
///
/// It is called once, on the first hart, while no other runs and before anything uses a
/// hart's own data.
pub unsafe fn init_primary() {
    let own_data = &raw const _percpu_start as usize;
    // Without room for the others the first hart still runs, alone.
    #[cfg(feature = "smp")]
    let own_data = secondary::set_room_aside().unwrap_or(own_data);
    OWN_DATA.store(own_data, Ordering::Relaxed);
    init_this(0);
    ONLINE.store(1, Ordering::Release);
}

/// Gives hart `number`, which runs this, its own data and trap vector.
fn init_this(number: usize) {
    // SAFETY: the data is this hart's alone, and as every hart's is at first.
    unsafe { percpu::write_percpu_reg(own_data_of(number)) };
    NUMBER.write_current(number);
    let bottom = hart_stack(number).start;
    STACK_LIMIT.write_current(bottom + TRAP_ROOM);
    EMERGENCY_STACK.write_current(bottom + EMERGENCY_SIZE);
    crate::arch::init_trap();
}

/// The end of this hart's stack for the report of an overflow.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(crate) fn emergency_stack() -> usize {
    EMERGENCY_STACK.read_current()
}

/// Whether a trap that has interrupted code at stack pointer `sp` finds no room on the
/// stack that this hart runs on.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(crate) fn is_below_stack(sp: usize) -> bool {
    sp < STACK_LIMIT.read_current()
}

/// Lets traps be taken at any stack pointer from now on: this hart makes its last report
/// on an emergency stack.
pub(crate) fn lift_limit() {
    STACK_LIMIT.write_current(0);
}

/// The lowest address of the stack that this hart runs on.
#[cfg(feature = "multitask")]
pub fn stack() -> usize {
    STACK_LIMIT.read_current() - TRAP_ROOM
}

/// Says that this hart is about to run on the stack whose lowest address is `bottom`,
/// with interrupts out: a trap that finds no room on it is reported.
///
/// # Safety
///
/// The stack is mapped from `bottom` on: a trap writes there without looking.
#[cfg(feature = "multitask")]
pub unsafe fn set_stack(bottom: usize) {
    STACK_LIMIT.write_current(bottom + TRAP_ROOM);
}

/// Does what other harts have asked of this one, if anything: for whoever waits
/// with interrupts out.
pub fn answer_others() {
    #[cfg(feature = "paging")]
    crate::tlb::answer();
}

/// Before a hart counted as up, nobody has asked it to forget anything.
#[cfg(feature = "smp")]
fn forget_what_nobody_said() {
    #[cfg(feature = "paging")]
    {
        crate::arch::flush_tlb_all();
        crate::arch::fetch_anew();
    }
}

/// The hart in whose stack's guard zone `addr` lies, if it is in one.
pub fn guard_of(addr: usize) -> Option<usize> {
    let number = addr.checked_sub(HART_STACKS)? / HART_STACK_SLOT;
    (number < count() && addr < hart_stack(number).start).then_some(number)
}

#[cfg(feature = "smp")]
pub use secondary::{Arrival, arrive, init_secondary, relax, start};
#[cfg(feature = "smp")]
pub(crate) use secondary::{STACK_MEMORY, stack_memory};

/// One turn of waiting for another hart, which a machine of one never does.
#[cfg(not(feature = "smp"))]
pub fn relax(_turn: usize) {
    core::hint::spin_loop();
}

/// Every hart but the first.
#[cfg(feature = "smp")]
mod secondary {
    use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    use axconfig::{HART_START_TIMEOUT_NS, MAX_HARTS, PAGE_SIZE, STACK_SIZE, hart_stack};
    use axmachine::StackMemory;

    use super::{_percpu_start, COUNT, ONLINE, init_this, own_data_size};
    use crate::mem;

    /// Bytes of a stack's memory, with the table that maps it in the boot page table.
    pub const STACK_MEMORY: usize = STACK_SIZE + PAGE_SIZE;

    /// The physical address of the first such memory, of hart 1.
    static STACKS: AtomicUsize = AtomicUsize::new(0);

    /// How long the first hart sleeps before it looks again whether another is
    /// up, in nanoseconds.
    const NAP_NS: u64 = 20_000;

    const OFF: u8 = 0;
    const STARTING: u8 = 1;
    const ARRIVED: u8 = 2;
    const LEFT_OUT: u8 = 3;

    /// How far each hart has come. Who starts a hart and the hart itself both
    /// move it on by compare-and-swap from `STARTING`: exactly one of "it came
    /// in time" and "it was given up" happens.
    static PROGRESS: [AtomicU8; MAX_HARTS] = [const { AtomicU8::new(OFF) }; MAX_HARTS];

    /// What came of starting a hart.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Arrival {
        /// It is up.
        Up,
        /// It did not answer in time and has been left out for good.
        LeftOut,
    }

    /// Takes, from free RAM, a stack for every hart but the first, and behind them every
    /// hart's own data. Returns where that begins; without room the machine counts one
    /// hart.
    pub fn set_room_aside() -> Option<usize> {
        let harts = axplat::power::cpu_num().clamp(1, MAX_HARTS);
        let stacks = (harts - 1) * STACK_MEMORY;
        let start = mem::take_boot_memory(stacks + harts * own_data_size())?;
        STACKS.store(start.as_usize(), Ordering::Relaxed);
        COUNT.store(harts, Ordering::Relaxed);
        for number in 1..harts {
            let stack = stack_memory(number);
            // SAFETY: the memory has just been taken for this, and the hart has not been
            // started.
            axmachine::map_stack(unsafe { StackMemory::new(number, stack, stack + STACK_SIZE) });
        }
        let data = axplat::mem::phys_to_virt(start).as_usize() + stacks;
        for number in 0..harts {
            let own = data + number * own_data_size();
            // SAFETY: the memory has just been taken for this; the template is as long.
            unsafe {
                (&raw const _percpu_start)
                    .copy_to_nonoverlapping(own as *mut u8, percpu::percpu_area_size());
            }
        }
        Some(data)
    }

    /// The physical address of the stack of hart `number`, which is not the first.
    pub fn stack_memory(number: usize) -> usize {
        STACKS.load(Ordering::Relaxed) + (number - 1) * STACK_MEMORY
    }

    /// Starts hart `number` and waits until it is up or its time is over.
    ///
    /// # Safety
    ///
    /// It is called once for each hart but the first: what a hart runs ends when it is
    /// started, and its stack is used from the top again.
    pub unsafe fn start(number: usize) -> Arrival {
        let progress = &PROGRESS[number];
        progress.store(STARTING, Ordering::Release);
        // Where it would be in the linear mapping: platforms add its offset again.
        let top = axplat::mem::virt_to_phys(hart_stack(number).end.into());
        axplat::power::cpu_boot(number, top.as_usize());
        let deadline = crate::time::monotonic_time_nanos().saturating_add(HART_START_TIMEOUT_NS);
        while !super::is_online(number) {
            if crate::time::monotonic_time_nanos() > deadline
                && moves_on(progress, STARTING, LEFT_OUT)
            {
                return Arrival::LeftOut;
            }
            // Asleep, this hart leaves an emulator's processor to the other.
            crate::time::sleep_until(crate::time::monotonic_time_nanos() + NAP_NS);
        }
        Arrival::Up
    }

    /// The `turn`th turn of waiting for another hart: a short spin at first,
    /// then, if interrupts are on, a nap. Where harts are threads of an emulator
    /// on fewer processors, who spins keeps the one it waits for from running.
    pub fn relax(turn: usize) {
        const SPINS: usize = 512;
        if turn < SPINS || !crate::arch::irqs_enabled() {
            core::hint::spin_loop();
        } else {
            crate::time::sleep_until(crate::time::monotonic_time_nanos() + NAP_NS);
        }
    }

    /// Gives hart `number`, which runs this, its own data and trap vector.
    ///
    /// # Safety
    ///
    /// It is called once on each hart that [`start`] has started, with its own number,
    /// before anything there uses a hart's own data.
    pub unsafe fn init_secondary(number: usize) {
        init_this(number);
    }

    /// Says that hart `number`, which runs this, is up and ready for anything.
    /// `Arrival::LeftOut` says that nobody waits for it any more: it must go to sleep.
    pub fn arrive(number: usize) -> Arrival {
        if !moves_on(&PROGRESS[number], STARTING, ARRIVED) {
            return Arrival::LeftOut;
        }
        ONLINE.fetch_or(1 << number, Ordering::SeqCst);
        super::forget_what_nobody_said();
        Arrival::Up
    }

    fn moves_on(progress: &AtomicU8, from: u8, to: u8) -> bool {
        progress
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
