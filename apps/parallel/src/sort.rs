//! A merge sort by many threads, which allocates no memory.

use std::thread;

/// The largest number of elements that one thread sorts in place, and merges or copies alone.
const SEQUENTIAL: usize = 16 << 10;

/// Sorts `numbers` with `threads` threads, including the calling one. The number of comparisons
/// hardly depends on `threads`. `spare` has the same length as `numbers`; its contents are
/// overwritten.
pub fn sort(numbers: &mut [u64], spare: &mut [u64], threads: usize) {
    if numbers.len() <= SEQUENTIAL {
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

/// Calls `one` and `other`, each with half of the `threads`. With two threads or more, the calls
/// run at the same time.
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

/// Merges two sorted slices into `merged` with `threads` threads. Both slices are split at the
/// middle element of the longer one, and different threads merge the two parts.
fn merge(left: &[u64], right: &[u64], merged: &mut [u64], threads: usize) {
    if threads < 2 || merged.len() <= SEQUENTIAL {
        return merge_sequential(left, right, merged);
    }
    // The longer slice is halved, so that both parts get smaller.
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

fn merge_sequential<'a>(mut left: &'a [u64], mut right: &'a [u64], merged: &mut [u64]) {
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
    if threads < 2 || to.len() <= SEQUENTIAL {
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
