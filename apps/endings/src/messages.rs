//! Endings by a panic whose message runs code while it is formatted.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use axstd::sync::Mutex;
use axstd::thread::{self, Builder};
use axstd::time::Instant;
use axstd::{harts, println, process};

/// A message that calls a function when it is formatted, and then writes `the message`.
struct Message(fn());

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        (self.0)();
        f.write_str("the message")
    }
}

/// Spins for `duration`.
fn busy(duration: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < duration {
        core::hint::spin_loop();
    }
}

/// A thread panics with a message that takes several time slices, while `main` is ready to return.
pub fn slow() {
    let panics = || panic!("{}", Message(|| busy(Duration::from_millis(50))));
    let _ = Builder::new().hart(harts::current()).spawn(panics);
    thread::yield_now();
}

/// The message sleeps, while another thread of the hart is ready to exit with status 0.
pub fn sleeps() {
    // Relaxed: both threads run on the same hart.
    static SLEEPS: AtomicBool = AtomicBool::new(false);
    let ends = || {
        while !SLEEPS.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        process::exit(0);
    };
    let _ = Builder::new().hart(harts::current()).spawn(ends);
    let sleep = || {
        SLEEPS.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
    };
    panic!("{}", Message(sleep));
}

/// The message waits for a mutex that another thread never unlocks.
pub fn waits() {
    static LOCK: Mutex<()> = Mutex::new(());
    let holder = || {
        let _held = LOCK.lock();
        thread::park();
    };
    let _ = Builder::new().hart(harts::current()).spawn(holder);
    while LOCK.try_lock().is_some() {
        thread::yield_now();
    }
    panic!("{}", Message(|| drop(LOCK.lock())));
}

/// The message exits with status 0.
pub fn exits() {
    panic!("{}", Message(|| process::exit(0)));
}

/// The message panics.
pub fn panics() {
    panic!("{}", Message(|| panic!("the second panic")));
}

/// The message panics, with a message that panics.
pub fn panics_twice() {
    panic!(
        "{}",
        Message(|| panic!("{}", Message(|| panic!("the third panic"))))
    );
}

/// The message makes an access that faults.
pub fn faults() {
    panic!("{}", Message(|| crate::write_to(0)));
}

/// The message never ends.
pub fn hangs() {
    panic!("{}", Message(|| busy(Duration::MAX)));
}

/// All harts panic at the same time.
pub fn everywhere() {
    let _ = harts::run_on_all(|hart| panic!("hart {hart} fails"));
}

/// Hart 0 panics while all other harts print.
pub fn among_lines() {
    let _ = harts::run_on_all(|hart| {
        if hart == 0 {
            busy(Duration::from_millis(5));
            panic!("{}", Message(|| busy(Duration::from_millis(5))));
        }
        loop {
            println!("hart {hart} prints");
        }
    });
}

/// Prints values whose formatting prints lines itself, then a line without a newline.
pub fn prints() {
    println!("[{}]", Message(|| println!("from within")));
    let outer = Message(|| println!("({})", Message(|| println!("from farther within"))));
    println!("[{outer}]");
    axstd::print!("unfinished");
    process::exit(42);
}
