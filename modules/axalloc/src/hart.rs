//! Where each hart's own things are.

pub use imp::*;

use crate::stock::Stock;

/// The harts and what each has of its own.
pub trait Harts {
    /// Calls `f` with what this hart has, which nobody else on it uses meanwhile.
    fn with_this<R>(&self, f: impl FnOnce(&Stock) -> R) -> R;

    /// Calls `f` with what each hart has.
    fn for_each(&self, f: impl FnMut(&Stock));
}

/// A kernel: each hart has a stock from [`init_hart`] on. Until the first has
/// called it, the only one that runs has the first stock. Interrupts are kept out
/// meanwhile.
#[cfg(feature = "hal")]
mod imp {
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use axconfig::{MAX_HARTS, PAGE_SIZE, PHYS_VIRT_OFFSET};
    use axerrno::{AxError, AxResult};
    use axhal::arch::IrqsOff;

    use super::Harts;
    use crate::UsageKind;
    use crate::stock::Stock;
    use crate::whole::FRAMES;

    /// The frames of a stock.
    const SIZE: usize = size_of::<Stock>().div_ceil(PAGE_SIZE);

    /// A lock that keeps interrupts out.
    pub type Lock<T> = kspin::BaseSpinLock<IrqsOff, T>;

    /// This hart's stock.
    #[percpu::def_percpu]
    static STOCK: &Stock = &FIRST;

    /// The first hart's.
    static FIRST: Stock = Stock::new();

    /// The others', in the order in which they came, and how many have.
    static OTHERS: [AtomicPtr<Stock>; MAX_HARTS] =
        [const { AtomicPtr::new(ptr::null_mut()) }; MAX_HARTS];
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// Gives this hart a stock of frames and blocks of its own. Each calls it once,
    /// before it allocates or frees anything; the first, before any other runs.
    ///
    /// # Errors
    ///
    /// `NoMemory`: this hart must not go on. The first always has one.
    pub fn init_hart() -> AxResult {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            return Ok(());
        }
        let place = OTHERS.get(number - 1).ok_or(AxError::NoMemory)?;
        let stock = new_stock().ok_or(AxError::NoMemory)?;
        place.store(stock, Ordering::Release);
        // SAFETY: a stock is there for good and made to be shared; nothing else
        // on this hart uses the reference that is replaced.
        unsafe { *STOCK.current_ref_mut_raw() = &*stock };
        FRAMES.count(UsageKind::Metadata, SIZE as isize);
        Ok(())
    }

    fn new_stock() -> Option<*mut Stock> {
        let first = FRAMES.take_run(SIZE, 1)?;
        let address = first * PAGE_SIZE + PHYS_VIRT_OFFSET;
        let stock: *mut Stock = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the frames lie in the linear mapping, and are this stock's for
        // good.
        unsafe { stock.write(Stock::new()) };
        Some(stock)
    }

    /// The machine this runs on.
    pub struct ThisMachine;

    impl Harts for ThisMachine {
        #[inline(always)]
        fn with_this<R>(&self, f: impl FnOnce(&Stock) -> R) -> R {
            let _no_interrupts = IrqsOff::new();
            // SAFETY: with interrupts out, what runs stays on this hart.
            f(unsafe { STOCK.current_ref_raw() })
        }

        fn for_each(&self, mut f: impl FnMut(&Stock)) {
            f(&FIRST);
            for place in &OTHERS {
                // SAFETY: null, or a stock, which is there for good and made to
                // be shared.
                if let Some(stock) = unsafe { place.load(Ordering::Acquire).as_ref() } {
                    f(stock);
                }
            }
        }
    }
}

/// A plain process: each thread has a stock until it ends.
#[cfg(not(feature = "hal"))]
mod imp {
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Harts;
    use crate::stock::Stock;

    pub use kspin::SpinNoIrq as Lock;

    /// More threads than this at a time share one more stock, under a lock.
    const THREADS: usize = 64;

    static STOCKS: [Stock; THREADS] = [const { Stock::new() }; THREADS];
    static TAKEN: [AtomicBool; THREADS] = [const { AtomicBool::new(false) }; THREADS];
    static SHARED: Stock = Stock::new();
    static TURN: Mutex<()> = Mutex::new(());

    std::thread_local! {
        static STOCK: Cell<Option<&'static Stock>> = const { Cell::new(None) };
        static SEAT: Option<Seat> = Seat::take();
    }

    /// A thread's right to the stock of this number.
    struct Seat(usize);

    impl Seat {
        fn take() -> Option<Self> {
            let free = |taken: &AtomicBool| !taken.swap(true, Ordering::Acquire);
            TAKEN.iter().position(free).map(Self)
        }
    }

    impl Drop for Seat {
        fn drop(&mut self) {
            STOCK.set(None);
            TAKEN[self.0].store(false, Ordering::Release);
        }
    }

    /// The stock this thread has a seat for. One that is ending gets none.
    #[cold]
    fn sit_down() -> Option<&'static Stock> {
        let number = SEAT.try_with(|seat| seat.as_ref().map(|seat| seat.0));
        let stock = number.ok().flatten().map(|number| &STOCKS[number]);
        STOCK.set(stock);
        stock
    }

    /// The machine this runs on.
    pub struct ThisMachine;

    impl Harts for ThisMachine {
        #[inline]
        fn with_this<R>(&self, f: impl FnOnce(&Stock) -> R) -> R {
            let Some(stock) = STOCK.get().or_else(sit_down) else {
                let _turn = TURN.lock();
                return f(&SHARED);
            };
            f(stock)
        }

        fn for_each(&self, mut f: impl FnMut(&Stock)) {
            STOCKS.iter().for_each(&mut f);
            f(&SHARED);
        }
    }
}
