//! The pieces of a packet's way, one by one, with criterion: base64, RMS, interleaving (inside the engine), the event, the
//! clock model, an HTTP request.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::Criterion;
use micring::engine::clock::ClockModel;
use micring::engine::intake::packet::rms;
use micring::time::{FramePos, MonoTime};

use crate::load::fill;
use crate::pieces::{Fed, Web};

/// All of them.
pub fn all(c: &mut Criterion) {
    let mut cycle = vec![0_u8; 6144];
    fill(&mut cycle, 0, 0);
    let mut text = vec![0_u8; 8192];
    c.bench_function("base64 of a cycle, base64", |b| {
        b.iter(|| STANDARD.encode_slice(black_box(&cycle), &mut text).expect("it fits"));
    });
    c.bench_function("base64 of a cycle, base64-simd", |b| {
        use base64_simd::AsOut;
        b.iter(|| base64_simd::STANDARD.encode(black_box(&cycle), text.as_mut_slice().as_out()).len());
    });
    c.bench_function("rms of a packet", |b| b.iter(|| rms(black_box(&cycle[..2048]))));
    let mut fed = Fed::new();
    c.bench_function("engine, a cycle of three packets", |b| b.iter(|| fed.cycle()));
    let mut fed = Fed::new();
    c.bench_function("engine, a cycle of six pieces", |b| b.iter(|| fed.cycle_in(1460)));
    let mut fed = Fed::new();
    for _ in 0..100 {
        fed.cycle();
    }
    c.bench_function("engine, 31 packets of a flood", |b| b.iter(|| fed.burst()));
    for subscribers in [1, 100] {
        let mut fed = Fed::new();
        let mut web = Web::new(subscribers, &mut fed);
        c.bench_function(&format!("engine and event, a cycle, {subscribers} subscribers"), |b| {
            b.iter(|| fed.cycle().map(|cycle| web.publish(&cycle, &mut fed)));
        });
    }
    let mut clock = ClockModel::new(48_000);
    let mut packet = 0_i64;
    c.bench_function("clock model, a packet", |b| {
        b.iter(|| {
            packet += 1;
            // Jitter of 0 to 1 ms, by a multiplicative hash.
            let jitter = (packet.wrapping_mul(0x9e37_79b9) >> 8) & 0xf_ffff;
            clock.observe(FramePos(packet * 512), MonoTime::from_nanos(packet * 10_666_667 + jitter));
        });
    });
    let mut fed = Fed::new();
    let mut web = Web::new(0, &mut fed);
    let id = web.connect(&mut fed);
    c.bench_function("http, a request and its answer", |b| b.iter(|| web.request(id, &mut fed)));
}
