//! Twenty arrays beside three that are in trouble: one flooded, one whose subscribers never read, one that stops. What the twenty see of it.

use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::arrays::{self as many, Config};
use crate::client::subscribe_to;
use crate::load::flood::{self, Flood, Sender};
use crate::load::{Mics, arrays};
use crate::process::Process;
use crate::rig::Rig;
use crate::stats::{Claim, Sheet, percentile};

/// Arrays that nothing happens to; behind them stand the three that are in trouble.
const CALM: usize = 20;
const FLOODED: usize = CALM;
const WATCHED: usize = CALM + 1;
const STOPPED: usize = CALM + 2;
/// Packets a second of the flood, and subscribers that never read (issue 15).
const FLOOD: f64 = 1e6;
const SUBSCRIBERS: usize = 300;
/// Tenths of a second in which what was sent has to be read.
const PATIENCE: usize = 50;
/// By so many microseconds the loop delay's p99 may move (issue 15).
const MOVES_US: f64 = 300.0;

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    Nothing,
    Stopped,
    Watched,
    Flooded,
    All,
}

impl Trouble {
    const EACH: [Trouble; 5] = [Trouble::Nothing, Trouble::Stopped, Trouble::Watched, Trouble::Flooded, Trouble::All];

    fn row(self) -> &'static str {
        match self {
            Trouble::Nothing => "no trouble",
            Trouble::Stopped => "one stops",
            Trouble::Watched => "one with 300 subscribers that never read",
            Trouble::Flooded => "one flooded",
            Trouble::All => "all three",
        }
    }

    fn has(self, trouble: Trouble) -> bool {
        self == trouble || self == Trouble::All
    }
}

pub fn run(rig: &Rig) -> Result<Outcome> {
    let mut sheet = Sheet::default();
    for round in 0..rig.rounds {
        for trouble in Trouble::EACH {
            rig.progress(format_args!("isolation: {}", trouble.row()));
            measure(rig, &mut sheet, round, trouble)?;
        }
    }
    let of = |row: Trouble, metric| (row.row(), metric);
    let claims = Trouble::EACH.into_iter().skip(1).flat_map(|trouble| {
        let moves = sheet.difference(of(trouble, "loop delay p99 us"), of(Trouble::Nothing, "loop delay p99 us"));
        let row = trouble.row();
        [
            Claim::at_most(&format!("{row}: lost of the twenty"), sheet.get(row, "lost"), 0.0),
            Claim::at_most(&format!("{row}: their loop delay p99 moves by, us"), moves, MOVES_US),
        ]
    });
    let claims = claims.collect();
    let about = "Twenty arrays of three microphones, 281 packets a second each, on the core of three more: one that its own sender floods (a million \
                 packets a second asked for, 2048 bytes), one with 300 subscribers that never read, one whose board stops. Loop delay: p99 of the last 10 s, of \
                 the worst microphone of the twenty."
        .into();
    Ok(Outcome { name: "isolation", about, sheets: vec![("one core".into(), sheet)], claims })
}

fn measure(rig: &Rig, sheet: &mut Sheet, round: usize, trouble: Trouble) -> Result<()> {
    let row = trouble.row();
    let config = Config::new(&many::of_their_own_ports(STOPPED + 1))?;
    let flags = ["--max-connections", "4096", "--max-connections-per-address", "4096"];
    let serve = Process::configured(rig.under_test, &config.0, &flags)?;
    let mics = many::listed(&serve)?;
    let http = serve.http.context("no HTTP server")?;
    let watchers = if trouble.has(Trouble::Watched) { SUBSCRIBERS } else { 0 };
    let target = format!("/api/arrays/a{WATCHED}/stream");
    let held = (0..watchers).map(|_| subscribe_to(http, &target)).collect::<Result<Vec<TcpStream>>>()?;
    let loaded = load(rig, &serve, &mics, trouble)?;
    drop(held);
    let (mut received, delays) = many::heard(&serve, CALM)?;
    // What a flood left in the sockets is read first.
    for _ in 0..PATIENCE {
        if received == loaded.sent {
            break;
        }
        sleep(Duration::from_millis(100));
        (received, _) = many::heard(&serve, CALM)?;
    }
    ensure!(!rig.quick || received == loaded.sent, "{row}: {received} of {} packets were received", loaded.sent);
    sheet.put(round, row, "lost", loaded.sent as f64 - received as f64);
    if let Some(&worst) = delays.last() {
        sheet.put(round, row, "loop delay p99 us", worst);
        sheet.put(round, row, "of the middle microphone", percentile(&delays, 50.0));
    }
    sheet.put(round, row, "CPU %", 100.0 * loaded.cpu);
    sheet.put(round, row, "flood, packets a second", loaded.flood);
    Ok(())
}

/// What was sent to the twenty, by the flood a second, and what the server took of its core.
struct Loaded {
    sent: u64,
    flood: f64,
    cpu: f64,
}

fn load(rig: &Rig, serve: &Process, mics: &[Mics], trouble: Trouble) -> Result<Loaded> {
    let (warm_up, measured) = (rig.seconds(many::WARM_UP_S), rig.seconds(many::MEASURED_S));
    let seconds = warm_up + measured;
    let board = |boards: &[Mics], seconds: f64| {
        let boards = many::on_loopback(boards);
        rig.on_load(Some(50), move || arrays::run(&boards, seconds))
    };
    let calm = board(&mics[..CALM], seconds);
    let mut others = vec![board(&mics[WATCHED..=WATCHED], seconds)];
    others.push(board(&mics[STOPPED..=STOPPED], if trouble.has(Trouble::Stopped) { warm_up } else { seconds }));
    let mut floods = None;
    if trouble.has(Trouble::Flooded) {
        let flood = Flood { sender: Sender::Segments, size: 2048, seconds, rate: Some(FLOOD) };
        let mics = mics[FLOODED];
        floods = Some(rig.on_load(None, move || flood::run(flood, mics, &AtomicBool::new(false))));
    } else {
        others.push(board(&mics[FLOODED..=FLOODED], seconds));
    }
    sleep(Duration::from_secs_f64(warm_up));
    let before = serve.cpu_s()?;
    sleep(Duration::from_secs_f64(measured - 0.2 * rig.seconds(1.0)));
    let cpu = (serve.cpu_s()? - before) / (measured - 0.2 * rig.seconds(1.0));
    let sent = calm.join().expect("boards do not panic")?;
    for other in others {
        other.join().expect("boards do not panic")?;
    }
    let flood = match floods {
        Some(flood) => flood.join().expect("a flood does not panic")?.packets as f64 / seconds,
        None => 0.0,
    };
    sleep(Duration::from_millis(100));
    Ok(Loaded { sent, flood, cpu })
}
