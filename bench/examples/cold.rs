//! `cargo run --release -p bench --example cold -- 1 300`: what a cycle costs an engine, alone and as one of many that take turns, whose
//! memory has gone cold meanwhile. No sockets; pin it with taskset.

use bench::os::mono_ns;
use bench::pieces::Fed;

/// Cycles of each engine that are counted, and as many before them.
const CYCLES: usize = 300;
/// Cycles in all that are counted, at least.
const LEAST: usize = 100_000;

fn main() {
    for count in std::env::args().skip(1).map(|count| count.parse::<usize>().expect("a number of engines")) {
        let mut engines: Vec<Fed> = (0..count).map(|_| Fed::new()).collect();
        let cycles = CYCLES.max(LEAST / count);
        let mut turns = || (0..cycles).for_each(|_| engines.iter_mut().for_each(|engine| _ = engine.cycle()));
        turns();
        let start = mono_ns();
        turns();
        let us = (mono_ns() - start) as f64 / 1e3 / (cycles * count) as f64;
        println!("{count} engines: {us:.1} us a cycle of three packets");
    }
}
