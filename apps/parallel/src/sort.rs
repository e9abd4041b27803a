//! Merge sort by many threads, in memory that it is given.

use std::thread;

/// Rows of no more numbers than this are sorted in place, by one thread.
const ROW: usize = 16 << 10;

/// Sorts `numbers` with `threads` threads, the calling one among them: the same work,
/// however many. `spare` is as long, and holds anything after.
pub fn sort(numbers: &mut [u64], spare: &mut [u64], threads: usize) {
    if numbers.len() <= ROW {
        return numbers.sort_unstable();
    }
    let threads = threads.max(1);
    let middle = match threads {
        1 => numbers.len() / 2,
        _ => numbers.len() / threads * (threads / 2),
    };
    let (left, right) = numbers.split_at_mut(middle);
    let (left_spare, right_spare) = spare.split_at_mut(middle);
    both(
        threads,
        |threads| sort(left, left_spare, threads),
        |threads| sort(right, right_spare, threads),
    );
    let (left, right) = numbers.split_at(middle);
    merge(left, right, spare, threads);
    copy(spare, numbers, threads);
}

/// Does two things with `threads` threads, each with its part of them: at the same time, if
/// there are two.
fn both(threads: usize, one: impl FnOnce(usize) + Send, other: impl FnOnce(usize)) {
    if threads < 2 {
        one(1);
        other(1);
    } else {
        thread::scope(|scope| {
            scope.spawn(|| one(threads / 2));
            other(threads - threads / 2);
        });
    }
}

/// Merges two sorted rows into `merged`: cut where one of them is halved, each part is
/// another thread's.
fn merge(left: &[u64], right: &[u64], merged: &mut [u64], threads: usize) {
    if threads < 2 || merged.len() <= ROW {
        return merge_alone(left, right, merged);
    }
    // The longer one is cut, so that each part gets smaller.
    let (long, short) = match left.len() < right.len() {
        true => (right, left),
        false => (left, right),
    };
    let cut = long.len() / 2;
    let short_cut = short.partition_point(|number| *number < long[cut]);
    let (low, high) = merged.split_at_mut(cut + short_cut);
    both(
        threads,
        |threads| merge(&long[..cut], &short[..short_cut], low, threads),
        |threads| merge(&long[cut..], &short[short_cut..], high, threads),
    );
}

fn merge_alone<'a>(mut left: &'a [u64], mut right: &'a [u64], merged: &mut [u64]) {
    for place in merged {
        let from_left = match (left.first(), right.first()) {
            (Some(l), Some(r)) => l <= r,
            (first, _) => first.is_some(),
        };
        let from = if from_left { &mut left } else { &mut right };
        if let Some((first, rest)) = from.split_first() {
            (*place, *from) = (*first, rest);
        }
    }
}

fn copy(from: &[u64], to: &mut [u64], threads: usize) {
    if threads < 2 || to.len() <= ROW {
        return to.copy_from_slice(from);
    }
    let middle = to.len() / threads * (threads / 2);
    let (low, high) = to.split_at_mut(middle);
    both(
        threads,
        |threads| copy(&from[..middle], low, threads),
        |threads| copy(&from[middle..], high, threads),
    );
}
