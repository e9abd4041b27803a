//! `cargo bench -p axbench --bench zeroing`: measures whether it pays to let an idle
//! processor zero frames in advance.
//!
//! A thread takes [`FRAMES`] frames one after the other, and writes to one byte of each or to
//! all of it. It either zeroes each frame right before, or another thread has zeroed all
//! frames before. The time of that other thread is not counted, so the result is the best that
//! a pool of zeroed frames could do.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

const FRAME: usize = 4096;

/// The numbers of frames: 2 MiB, which a busy pool might hold, and 64 MiB, which no cache
/// holds.
const FRAMES: [usize; 2] = [512, 16_384];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (use_of, bytes) in [("one byte", 1), ("all", FRAME)] {
        let mut group = criterion.benchmark_group(format!("a zeroed frame, {use_of} used"));
        for count in FRAMES {
            let mut memory = vec![1_u8; count * FRAME];
            for (when, ahead) in [("on demand", false), ("ahead", true)] {
                group.bench_function(BenchmarkId::new(when, count), |bencher| {
                    bencher.iter_custom(|rounds| take(&mut memory, rounds, bytes, ahead));
                });
            }
        }
    }
    criterion.final_summary();
}

/// Returns how long it takes to use `frames` frames, and to zero them unless that was done
/// `ahead`.
fn take(memory: &mut [u8], frames: u64, bytes: usize, ahead: bool) -> Duration {
    let (mut took, mut left) = (Duration::ZERO, frames as usize);
    while left > 0 {
        let len = memory.len().min(left * FRAME);
        let some = &mut memory[..len];
        if ahead {
            thread::scope(|scope| scope.spawn(|| some.fill(0)).join().is_ok());
        }
        let begin = Instant::now();
        for frame in some.chunks_mut(FRAME) {
            if !ahead {
                frame.fill(0);
            }
            black_box(&mut frame[..bytes]).fill(1);
        }
        took += begin.elapsed();
        left -= len / FRAME;
    }
    took
}
