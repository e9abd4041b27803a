//! Two harts that read and write, in every interleaving and with every order that memory may have.

use loom::cell;

use super::BigReaderLock;
use crate::locking::modelled::{Modelled, harts, wake_other};
use crate::vmo::counted::Counted;

/// A value that loom watches: it fails a test in which a read and a write are not ordered.
struct Watched(cell::UnsafeCell<usize>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Watched {}

type Lock = BigReaderLock<Modelled, Watched>;

/// A node of a tree. Its drop is a write.
struct Node(Watched);

impl Node {
    fn read(&self) {
        self.0.0.with(|_| {});
    }

    fn write(&mut self) {
        self.0.0.with_mut(|_| {});
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.write();
    }
}

/// The state of an object whose tree has one node at most.
type Object = BigReaderLock<Modelled, Option<Counted<Node>>>;

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

fn read(lock: &Lock) -> usize {
    let seen = lock.read().0.with(|value| unsafe { *value });
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

fn new_node() -> Counted<Node> {
    Counted::new(Node(Watched(cell::UnsafeCell::new(0)))).unwrap()
}

fn object_with(node: Counted<Node>) -> Object {
    let object = Object::new(Some(node));
    object.admit_readers().unwrap();
    object
}

/// Looks a page up, as a page fault does.
fn look_up(object: &Object) {
    object.read().iter().for_each(|node| node.read());
    wake_other();
}

#[test]
fn a_node_is_freed_after_all_lookups() {
    harts(
        3,
        || object_with(new_node()),
        |object| {
            look_up(object);
            look_up(object);
        },
        |object| {
            let taken = object.with(Option::take);
            wake_other();
            drop(taken);
        },
    );
}

/// The first write to an object since a snapshot was made.
fn write_page(object: &Object) {
    let former = object.with(|root| {
        let node = root.as_mut()?;
        match node.get_mut() {
            Some(node) => {
                node.write();
                None
            }
            None => {
                node.read();
                root.replace(new_node())
            }
        }
    });
    wake_other();
    drop(former);
}

/// An object and its snapshot share a node. Each has a lock of its own.
#[test]
fn of_two_objects_at_most_one_takes_a_node_over() {
    harts(
        3,
        || {
            let node = new_node();
            [object_with(node.share()), object_with(node)]
        },
        |[original, _]| {
            look_up(original);
            write_page(original);
        },
        |[original, snapshot]| {
            write_page(snapshot);
            look_up(original);
        },
    );
}
