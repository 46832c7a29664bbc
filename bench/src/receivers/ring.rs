//! micring's own ring: bare, and with the engine on it, as a library would be used.

use std::collections::VecDeque;

use anyhow::Result;
use micring::MICS;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold};
use micring::sys::host;
use micring::sys::ring::{Completion, Ring, RingOptions, UdpDatagram};
use micring::sys::udp::StampedSocket;
use micring::time::Span;

use super::{Meter, PeerArgs};

/// One turn: enter, and what came.
fn turn(ring: &mut Ring, spin: bool, out: &mut Vec<Completion>) -> Result<()> {
    ring.arm_sockets();
    if spin {
        ring.poll()?
    } else {
        ring.wait(None)?
    }
    ring.reap(out);
    Ok(())
}

pub fn bare(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    let mut ring = Ring::new(RingOptions::default(), sockets)?;
    let mut meter = Meter::new(args.delays);
    let mut completions = Vec::with_capacity(8192);
    let mut stopped = [false; MICS];
    while stopped.contains(&false) {
        turn(&mut ring, args.spin, &mut completions)?;
        let now = meter.now();
        for completion in completions.drain(..) {
            if let Completion::Datagram(datagram) = completion {
                let stamp = datagram.stamp.map_or(0, |stamp| stamp.as_nanos());
                stopped[datagram.socket] |= !meter.packet(datagram.socket, ring.payload(&datagram), stamp, now);
                ring.recycle(datagram);
            }
        }
    }
    Ok(meter)
}

/// Datagrams of a turn into the engine in the order of their stamps, each socket's being in order; its outputs are taken and
/// dropped.
pub fn with_engine(args: &PeerArgs, sockets: [StampedSocket; MICS]) -> Result<Meter> {
    let mut ring = Ring::new(RingOptions::default(), sockets)?;
    let mut engine = Engine::new(Config {
        layout: micring::array::Layout::mono(3),
        sample_rate: 48_000,
        clock: ClockChoice::Auto,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    });
    let mut meter = Meter::new(args.delays);
    let mut completions = Vec::with_capacity(8192);
    let mut waiting: [VecDeque<UdpDatagram>; MICS] = std::array::from_fn(|_| VecDeque::with_capacity(64));
    let mut stopped = [false; MICS];
    while stopped.contains(&false) {
        turn(&mut ring, args.spin, &mut completions)?;
        let clocks = host::clocks();
        engine.begin_turn(clocks);
        for completion in completions.drain(..) {
            if let Completion::Datagram(datagram) = completion {
                waiting[datagram.socket].push_back(datagram);
            }
        }
        let oldest = |waiting: &[VecDeque<UdpDatagram>; MICS]| {
            let heads = waiting.iter().filter_map(VecDeque::front);
            heads.min_by_key(|head| (head.stamp, head.socket)).map(|head| head.socket)
        };
        while let Some(datagram) = oldest(&waiting).and_then(|mic| waiting[mic].pop_front()) {
            let (mic, bytes) = (datagram.socket, ring.payload(&datagram));
            if let (Some(stamp), Some(sender)) = (datagram.stamp, datagram.sender) {
                stopped[mic] |= !meter.packet(mic, bytes, stamp.as_nanos(), clocks.wall.as_nanos());
                engine.handle_datagram(&Datagram { mic, stamp, sender, bytes, len: datagram.len });
                while engine.poll_output().is_some() {}
            }
            ring.recycle(datagram);
        }
        engine.handle_timeout();
        while engine.poll_output().is_some() {}
    }
    Ok(meter)
}
