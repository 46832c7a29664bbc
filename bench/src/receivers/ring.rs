//! micring's own ring: bare, and with the engine on it, as a library would be used.

use anyhow::Result;
use micring::MICS;
use micring::engine::{ClockChoice, Config, Datagram, Engine, Hold};
use micring::sys::host;
use micring::sys::ring::{Completion, MicDatagram, Ring, RingOptions};
use micring::sys::udp::MicSocket;
use micring::time::Span;

use super::{Meter, PeerArgs};

/// One turn: enter, and what came.
fn turn(ring: &mut Ring, spin: bool, out: &mut Vec<Completion>) -> Result<()> {
    ring.arm_mics();
    if spin {
        ring.poll()?
    } else {
        ring.wait(None)?
    }
    ring.reap(out);
    Ok(())
}

pub fn bare(args: &PeerArgs, sockets: [MicSocket; MICS]) -> Result<Meter> {
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
                stopped[datagram.mic] |= !meter.packet(datagram.mic, ring.payload(&datagram), stamp, now);
                ring.recycle(datagram);
            }
        }
    }
    Ok(meter)
}

/// Datagrams of a turn in the order of their stamps into the engine; its outputs are taken and dropped.
pub fn with_engine(args: &PeerArgs, sockets: [MicSocket; MICS]) -> Result<Meter> {
    let mut ring = Ring::new(RingOptions::default(), sockets)?;
    let mut engine = Engine::new(Config {
        sample_rate: 48_000,
        clock: ClockChoice::Auto,
        hold: Hold::Auto,
        resample: false,
        history: Span::from_secs(5),
        max_datagram: 8192,
    });
    let mut meter = Meter::new(args.delays);
    let mut completions = Vec::with_capacity(8192);
    let mut datagrams: Vec<MicDatagram> = Vec::with_capacity(1024);
    let mut stopped = [false; MICS];
    while stopped.contains(&false) {
        turn(&mut ring, args.spin, &mut completions)?;
        let clocks = host::clocks();
        engine.begin_turn(clocks);
        datagrams.extend(completions.drain(..).filter_map(|completion| match completion {
            Completion::Datagram(datagram) => Some(datagram),
            _ => None,
        }));
        datagrams.sort_unstable_by_key(|datagram| (datagram.stamp, datagram.mic));
        for datagram in datagrams.drain(..) {
            let (mic, bytes) = (datagram.mic, ring.payload(&datagram));
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
