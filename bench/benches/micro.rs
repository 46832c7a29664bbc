//! `cargo bench -p bench`: the pieces with criterion's full sampling.

use criterion::{criterion_group, criterion_main};

criterion_group!(micro, bench::micro::all);
criterion_main!(micro);
