//! `loom` tries every interleaving of an owner that takes a value over with others that are
//! dropped.

use loom::cell::UnsafeCell;
use loom::thread;

use super::Counted;

/// A value that loom watches. Its drop is a write.
struct Watched(UnsafeCell<usize>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Watched {}

impl Watched {
    fn read(&self) {
        self.0.with(|_| {});
    }

    fn write(&mut self) {
        self.0.with_mut(|_| {});
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.write();
    }
}

/// An owner that reads the value and is dropped, on a thread of its own.
fn reader(owner: &Counted<Watched>) -> thread::JoinHandle<()> {
    let owner = owner.share();
    thread::spawn(move || owner.read())
}

#[test]
fn an_only_owner_writes_after_all_that_former_owners_did() {
    loom::model(|| {
        let mut owner = Counted::new(Watched(UnsafeCell::new(0))).unwrap();
        let other = reader(&owner);
        if let Some(value) = owner.get_mut() {
            value.write();
        }
        other.join().unwrap();
        owner.get_mut().unwrap().write();
    });
}

#[test]
fn the_last_of_three_owners_frees_the_value_after_the_others() {
    loom::model(|| {
        let owner = Counted::new(Watched(UnsafeCell::new(0))).unwrap();
        let others = [(); 2].map(|()| reader(&owner));
        owner.read();
        drop(owner);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
