//! `cargo bench -p axbench`: measures the time of each allocator's operations, by one thread
//! and by two at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use axbench::{Done, HeapBench, PageBench, Visit, heap, host, pages};
use criterion::{BenchmarkId, Criterion};

/// The number of operations of a random load, and its seed.
const RANDOM: usize = 5000;
const SEED: u64 = 0x7e55_e2a3;

/// The numbers of threads that run at once.
const THREADS: [usize; 2] = [1, 2];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    host::visit(&mut Groups(&mut criterion));
    criterion.final_summary();
}

/// Measures every load on each allocator that it is shown.
struct Groups<'criterion>(&'criterion mut Criterion);

/// Returns an allocator's name in the report.
fn report_name(name: &str) -> &str {
    if name.is_empty() { "ours" } else { name }
}

impl Visit for Groups<'_> {
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A) {
        self.pairs("frame.pair", name, |n| pages::frame_pairs(alloc, n));
        self.pairs("block_2m.pair", name, |n| pages::large_pairs(alloc, n));
        let script = pages::bulk();
        self.random("frame_bulk.op", name, || pages::random(alloc, &script));
        let script = pages::script(SEED, RANDOM);
        self.random("frame_random.op", name, || pages::random(alloc, &script));
        self.threads("frame.pair.threads", name, |n| pages::frame_pairs(alloc, n));
    }

    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A) {
        self.pairs("heap_64.pair", name, |n| heap::small_pairs(alloc, n));
        let script = heap::script(SEED, RANDOM);
        self.random("heap_random.op", name, || heap::random(alloc, &script));
        self.threads("heap_64.pair.threads", name, |n| {
            heap::small_pairs(alloc, n)
        });
    }
}

impl Groups<'_> {
    /// Measures the time of a pair.
    fn pairs(&mut self, group: &str, name: &str, load: impl Fn(usize) -> Done) {
        let mut group = self.0.benchmark_group(group);
        group.bench_function(report_name(name), |bencher| {
            bencher.iter_custom(|rounds| timed(&load, rounds));
        });
    }

    /// Measures the average time of an operation in a random load.
    fn random(&mut self, group: &str, name: &str, load: impl Fn() -> Done) {
        let operations = load().map_or(1, |count| count as u32);
        let loads = |times| (0..times).try_fold(0, |sum, _| Ok(sum + load()?));
        let mut group = self.0.benchmark_group(group);
        group.bench_function(report_name(name), |bencher| {
            bencher.iter_custom(|rounds| timed(loads, rounds) / operations);
        });
    }

    /// Measures the time of a pair while each number of [`THREADS`] uses the same allocator.
    fn threads(&mut self, group: &str, name: &str, load: impl Fn(usize) -> Done + Sync) {
        let mut group = self.0.benchmark_group(group);
        for count in THREADS {
            let id = BenchmarkId::new(report_name(name), count);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| at_once(count, &load, rounds));
            });
        }
    }
}

/// Returns how long `rounds` rounds take.
fn timed(load: impl Fn(usize) -> Done, rounds: u64) -> Duration {
    let begin = Instant::now();
    let done = load(rounds as usize);
    let took = begin.elapsed();
    assert!(done.is_ok(), "out of memory");
    took
}

/// Returns how long the slowest of `count` threads takes for `rounds` rounds.
fn at_once(count: usize, load: impl Fn(usize) -> Done + Sync, rounds: u64) -> Duration {
    let (load, barrier) = (&load, &Barrier::new(count));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(move || {
                    barrier.wait();
                    timed(load, rounds)
                })
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times.filter_map(Result::ok).max().unwrap_or_default()
    })
}
