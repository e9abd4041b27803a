//! Two harts that read and write, in every interleaving and with every order that memory may have.

use loom::cell;

use super::BigReaderLock;
use crate::locking::modelled::{Modelled, harts, wake_other};

/// A value that loom watches: it fails a test in which a read and a write are not ordered.
struct Watched(cell::UnsafeCell<usize>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Watched {}

type Lock = BigReaderLock<Modelled, Watched>;

fn with_readers() -> Lock {
    let lock = without_readers();
    lock.admit_readers().unwrap();
    lock
}

fn without_readers() -> Lock {
    Lock::new(Watched(cell::UnsafeCell::new(0)))
}

fn write(lock: &Lock) {
    lock.with(|value| value.0.with_mut(|value| unsafe { *value += 1 }));
    wake_other();
}

/// Reads the value as a page fault does: under the lock if it has to give way.
fn read(lock: &Lock) -> usize {
    let value = |value: &Watched| value.0.with(|value| unsafe { *value });
    let seen = match lock.try_read() {
        Some(guard) => value(&guard),
        None => lock.with(|locked| value(locked)),
    };
    wake_other();
    seen
}

#[test]
fn no_hart_reads_what_another_writes() {
    harts(
        3,
        with_readers,
        |lock| {
            read(lock);
            write(lock);
        },
        |lock| {
            write(lock);
            read(lock);
        },
    );
}

#[test]
fn a_reader_sees_what_earlier_writers_changed() {
    harts(
        3,
        with_readers,
        |lock| {
            let first = read(lock);
            assert!(read(lock) >= first);
        },
        |lock| {
            write(lock);
            assert_eq!(read(lock), 1);
            write(lock);
        },
    );
}

/// The writer that comes first knows of no readers.
#[test]
fn readers_may_be_admitted_beside_a_writer() {
    harts(
        3,
        without_readers,
        |lock| {
            write(lock);
            read(lock);
        },
        |lock| {
            lock.admit_readers().unwrap();
            read(lock);
        },
    );
}
