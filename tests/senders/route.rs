//! A route from a sender to the server that loses datagrams, lets some be overtaken and brings some twice, and knows the truth.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing happens so long after a source's first datagram: until it stands on the axis.
const CLEAN: Duration = Duration::from_secs(2);

pub struct Route {
    pub port: u16,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Carried>,
}

/// What a route carried.
#[derive(Debug, Default)]
pub struct Carried {
    pub passed: u64,
    /// Lost ones that something came behind, and the bytes of them.
    pub lost: u64,
    pub lost_bytes: Vec<usize>,
    pub duplicated: u64,
    pub overtaken: u64,
    /// Datagrams of RTCP.
    pub control: u64,
    /// What the sender sent, where that is kept: each datagram, and whether it was lost.
    pub sent: Vec<(Vec<u8>, bool)>,
}

/// What becomes of a datagram.
enum Fate {
    Passes,
    Lost,
    Twice,
    /// The next one comes before it.
    Overtaken,
}

/// SplitMix64, as published.
struct Dice(u64);

impl Dice {
    /// Of a hundred datagrams two are lost, one comes twice and two are overtaken.
    fn fate(&mut self) -> Fate {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match (x ^ (x >> 31)) % 100 {
            0 | 1 => Fate::Lost,
            2 => Fate::Twice,
            3 | 4 => Fate::Overtaken,
            _ => Fate::Passes,
        }
    }
}

/// RFC 5761: the second byte of RTCP.
fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() > 1 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1])
}

impl Route {
    pub fn to(port: u16, seed: u64) -> Route {
        Route::new(port, seed, false)
    }

    /// The same, that keeps what was sent.
    pub fn keeping(port: u16, seed: u64) -> Route {
        Route::new(port, seed, true)
    }

    fn new(port: u16, seed: u64, keeps: bool) -> Route {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (own, done) = (socket.local_addr().expect("bound").port(), Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let thread = std::thread::spawn(move || carry(&socket, port, Dice(seed), keeps, &stop));
        Route { port: own, done, thread }
    }

    pub fn end(self) -> Carried {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the route ends")
    }
}

fn carry(socket: &UdpSocket, port: u16, mut dice: Dice, keeps: bool, stop: &AtomicBool) -> Carried {
    let mut carried = Carried::default();
    let (mut first, mut pending, mut held) = (None, Vec::new(), None::<Vec<u8>>);
    let mut buffer = [0; 65_536];
    let send = |bytes: &[u8]| {
        socket.send_to(bytes, ("127.0.0.1", port)).expect("sent");
    };
    while !stop.load(Ordering::Relaxed) {
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let bytes = &buffer[..len];
        if is_rtcp(bytes) {
            carried.control += 1;
            send(bytes);
            continue;
        }
        let began = *first.get_or_insert_with(Instant::now);
        let fate = if began.elapsed() < CLEAN { Fate::Passes } else { dice.fate() };
        if keeps {
            carried.sent.push((bytes.to_vec(), matches!(fate, Fate::Lost)));
        }
        match fate {
            Fate::Lost => {
                pending.push(len);
                continue;
            }
            Fate::Overtaken if held.is_none() => {
                held = Some(bytes.to_vec());
                continue;
            }
            Fate::Twice => {
                carried.duplicated += 1;
                send(bytes);
            }
            _ => {}
        }
        send(bytes);
        carried.passed += 1;
        carried.lost += pending.len() as u64;
        carried.lost_bytes.append(&mut pending);
        if let Some(held) = held.take() {
            send(&held);
            carried.passed += 1;
            carried.overtaken += 1;
        }
    }
    if let Some(held) = held {
        send(&held);
        carried.passed += 1;
    }
    carried
}
