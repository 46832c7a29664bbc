//! The ring on real sockets: what the kernel delivers, and every way in which a multishot ends and comes back.

#[path = "support/skipped.rs"]
mod skipped;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use bytes::Bytes;
use micring::sys::host;
use micring::sys::ring::{Completion, End, Ring, RingOptions};
use micring::sys::tcp;
use micring::sys::token::Handle;
use micring::sys::udp::StampedSocket;
use micring::time::{KernelTime, Span};
use skipped::skipped;
use socket2::{Domain, Protocol, Socket, Type};

const RECEIVE_BUFFER: usize = 1 << 20;

struct Bench {
    ring: Ring,
    ports: [SocketAddr; 3],
    sender: UdpSocket,
    got: Vec<(usize, Option<KernelTime>, usize, Vec<u8>)>,
    ends: Vec<(usize, End)>,
}

impl Bench {
    fn new(options: RingOptions) -> Bench {
        Bench::bound(options, "127.0.0.1:0", "127.0.0.1:0")
    }

    fn bound(options: RingOptions, to: &str, from: &str) -> Bench {
        let mics = [0; 3].map(|_| StampedSocket::bind(to.parse().unwrap(), RECEIVE_BUFFER).expect("bind"));
        let ports = [0, 1, 2].map(|mic: usize| mics[mic].address());
        let mut ring = Ring::new(options, mics).expect("io_uring is allowed here");
        ring.arm_sockets();
        ring.poll().unwrap();
        Bench { ring, ports, sender: UdpSocket::bind(from).unwrap(), got: Vec::new(), ends: Vec::new() }
    }

    fn send(&self, mic: usize, bytes: &[u8]) {
        self.sender.send_to(bytes, self.ports[mic]).expect("send");
    }

    /// One enter; datagrams are noted and their buffers given back.
    fn turn(&mut self) {
        self.ring.wait(Some(Span::from_millis(50))).unwrap();
        let mut batch = Vec::new();
        self.ring.reap(&mut batch);
        for completion in batch {
            match completion {
                Completion::Datagram(datagram) => {
                    self.got.push((
                        datagram.socket,
                        datagram.stamp,
                        datagram.len,
                        self.ring.payload(&datagram).to_vec(),
                    ));
                    self.ring.recycle(datagram);
                }
                Completion::SocketEnded { socket, end } => self.ends.push((socket, end)),
                other => panic!("nothing else was submitted: {other:?}"),
            }
        }
    }

    fn turns_until(&mut self, datagrams: usize) {
        for _ in 0..200 {
            if self.got.len() >= datagrams {
                return;
            }
            self.ring.arm_sockets();
            self.turn();
        }
        panic!("{} of {datagrams} datagrams came, ends {:?}", self.got.len(), self.ends);
    }
}

/// A line of the table of `scripts/faults`: all came, in order.
fn tell(fault: &str, happened: &str) {
    println!("FAULT\t{fault}\treceives come back, nothing is lost\t{happened}\t0\t0\t-");
}

#[test]
fn datagrams_carry_the_kernels_stamp_their_sender_and_their_bytes() {
    let mut bench = Bench::new(RingOptions::default());
    let before = host::clocks().wall;
    for mic in 0..3 {
        bench.send(mic, &[mic as u8; 2048]);
    }
    bench.turns_until(3);
    let after = host::clocks().wall;
    for (mic, stamp, len, bytes) in &bench.got {
        let stamp = stamp.expect("SO_TIMESTAMPNS is set");
        assert!(before <= stamp && stamp <= after, "the stamp lies between send and read");
        assert_eq!((*len, bytes.as_slice()), (2048, [*mic as u8; 2048].as_slice()));
    }
    let stamps: Vec<_> = bench.got.iter().map(|got| got.1).collect();
    assert!(stamps.is_sorted(), "sent in order, stamped in order");
    assert!(bench.ends.is_empty());
}

#[test]
fn a_dual_stack_socket_takes_both_families() {
    let mut bench = Bench::bound(RingOptions::default(), "[::]:0", "127.0.0.1:0");
    let v6 = UdpSocket::bind("[::1]:0").unwrap();
    for mic in 0..3 {
        let port = bench.ports[mic].port();
        bench.ports[mic] = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        bench.send(mic, b"four");
        v6.send_to(b"six", ("::1", port)).unwrap();
    }
    bench.turns_until(6);
    assert!(bench.got.iter().all(|got| got.1.is_some()));
}

#[test]
fn an_empty_datagram_ends_the_multishot_and_costs_nothing() {
    let mut bench = Bench::new(RingOptions::default());
    bench.send(1, b"before");
    bench.send(1, b"");
    bench.send(1, b"after!");
    bench.turns_until(3);
    assert_eq!(bench.ends, [(1, End::EmptyDatagram)]);
    let payloads: Vec<_> = bench.got.iter().map(|got| got.3.as_slice()).collect();
    assert_eq!(payloads, [b"before".as_slice(), b"", b"after!"]);
    assert!(bench.got[1].1.is_some(), "also the empty one is stamped");
    assert_eq!(bench.ring.counters().ended_empty_datagram, 1);
}

#[test]
fn buffers_that_run_out_end_the_multishot_and_nothing_is_lost() {
    let options = RingOptions { socket_buffers: 4, ..RingOptions::default() };
    let mut bench = Bench::new(options);
    for n in 0..20_u32 {
        bench.send(2, &n.to_le_bytes());
    }
    bench.send(0, b"other");
    bench.turns_until(21);
    assert!(bench.ends.iter().all(|end| *end == (2, End::NoBuffers)), "only its own pool ran out: {:?}", bench.ends);
    assert!(bench.ring.counters().ended_no_buffers >= 4);
    let numbers: Vec<_> = bench.got.iter().filter(|got| got.0 == 2).map(|got| got.3.clone()).collect();
    assert_eq!(numbers, (0..20_u32).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
    tell("ENOBUFS storm", &format!("21 of 21 datagrams through 4 buffers, armed again {} times", bench.ends.len()));
}

#[test]
fn a_full_completion_queue_ends_the_multishot_and_nothing_is_lost() {
    let options = RingOptions { submissions: 4, completions: 8, ..RingOptions::default() };
    let mut bench = Bench::new(options);
    for n in 0..100_u32 {
        bench.send(0, &n.to_le_bytes());
    }
    bench.turns_until(100);
    assert!(bench.ends.contains(&(0, End::CompletionsFull)), "{:?}", bench.ends);
    assert!(bench.ring.counters().ended_completions_full > 0);
    let numbers: Vec<_> = bench.got.iter().map(|got| got.3.clone()).collect();
    assert_eq!(numbers, (0..100_u32).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
    let happened = format!("100 of 100 datagrams through 8 entries, armed again {} times", bench.ends.len());
    tell("completion queue overflows", &happened);
}

fn raw_icmp() -> Option<Socket> {
    match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
        Ok(socket) => Some(socket),
        Err(error) => {
            skipped("ICMP", &format!("a raw socket needs root, or CAP_NET_RAW: {error}"));
            None
        }
    }
}

/// RFC 792: destination unreachable, port unreachable, in answer to a datagram that `port` would have sent to port 9, both of 127.0.0.1.
fn port_unreachable(port: u16) -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    message.extend(port.to_be_bytes());
    message.extend([0, 9, 0, 8, 0, 0]);
    let sum: u32 = message.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

#[test]
fn an_error_on_the_socket_ends_the_multishot_and_it_comes_back() {
    let mut bench = Bench::new(RingOptions::default());
    // With IP_RECVERR an unconnected socket is told of ICMP errors. It cannot send what would bring one: so that comes unasked.
    let Some(icmp) = raw_icmp() else { return };
    let socket = UdpSocket::from(bench.ring.socket(1).as_fd().try_clone_to_owned().unwrap());
    let on = 1_i32;
    // SAFETY: the kernel reads four bytes at `on`.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, (&raw const on).cast(), 4) };
    assert_eq!(set, 0);
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    icmp.send_to(&port_unreachable(bench.ports[1].port()), &loopback.into()).unwrap();
    bench.turn();
    assert_eq!(bench.ends, [(1, End::Error(libc::ECONNREFUSED))]);
    assert_eq!(bench.ring.counters().ended_error, 1);
    bench.send(1, b"back again");
    bench.turns_until(1);
    assert_eq!(bench.got[0].3, b"back again");
}

#[test]
#[should_panic(expected = "a buffer goes back to the pool that it came from")]
fn a_buffer_of_one_pool_cannot_be_given_to_another() {
    let mut bench = Bench::new(RingOptions::default());
    bench.send(0, b"of mic 0");
    let mut batch = Vec::new();
    while batch.is_empty() {
        bench.ring.wait(Some(Span::from_millis(50))).unwrap();
        bench.ring.reap(&mut batch);
    }
    let Some(Completion::Datagram(mut datagram)) = batch.pop() else { panic!("a datagram came") };
    datagram.socket = 1;
    bench.ring.recycle(datagram);
}

#[test]
fn a_datagram_longer_than_the_buffer_is_cut_and_its_true_length_known() {
    let options = RingOptions { max_datagram: 2048, ..RingOptions::default() };
    let mut bench = Bench::new(options);
    bench.send(0, &[7; 65_507]);
    bench.turns_until(1);
    let (_, stamp, len, bytes) = &bench.got[0];
    assert!(stamp.is_some());
    assert_eq!((*len, bytes.len()), (65_507, 2048));
}

#[test]
fn drops_at_a_full_socket_are_known_without_a_packet() {
    let mics = [0; 3].map(|_| StampedSocket::bind("127.0.0.1:0".parse().unwrap(), 4096).unwrap());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..1000 {
        sender.send_to(&[0; 2048], mics[1].address()).unwrap();
    }
    let drops = mics[1].drops().unwrap();
    assert!((900..1000).contains(&drops), "4 KiB hold a few of a thousand: {drops}");
    assert_eq!(mics[0].drops().unwrap(), 0);
}

/// A ring with a listener, and the completions it gave.
struct Web {
    ring: Ring,
    address: SocketAddr,
    batch: Vec<Completion>,
}

impl Web {
    fn new() -> Web {
        Web::with(RingOptions::default())
    }

    fn with(options: RingOptions) -> Web {
        let mics = [0; 3].map(|_| StampedSocket::bind("127.0.0.1:0".parse().unwrap(), RECEIVE_BUFFER).unwrap());
        let mut ring = Ring::new(options, mics).unwrap();
        let listener = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        ring.listen(listener);
        Web { ring, address, batch: Vec::new() }
    }

    fn until<T>(&mut self, mut want: impl FnMut(&Completion) -> Option<T>) -> T {
        for _ in 0..200 {
            while !self.batch.is_empty() {
                if let Some(found) = want(&self.batch.remove(0)) {
                    return found;
                }
            }
            self.ring.wait(Some(Span::from_millis(50))).unwrap();
            self.ring.reap(&mut self.batch);
        }
        panic!("it never came");
    }

    fn accept(&mut self) -> (Handle, TcpStream) {
        let client = TcpStream::connect(self.address).unwrap();
        let handle = self.until(|completion| match completion {
            Completion::Accepted { handle, peer } => {
                assert_eq!(*peer, client.local_addr().unwrap());
                Some(*handle)
            }
            _ => None,
        });
        (handle, client)
    }
}

#[test]
fn a_connection_is_accepted_read_answered_and_ended() {
    let mut web = Web::new();
    let (handle, mut client) = web.accept();
    web.ring.receive(handle);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut request = None;
    for _ in 0..200 {
        web.ring.wait(Some(Span::from_millis(50))).unwrap();
        web.ring.reap(&mut web.batch);
        if let Some(Completion::Received { lease, .. }) = web.batch.pop() {
            request = Some(web.ring.received(&lease).to_vec());
            web.ring.recycle_received(lease);
            break;
        }
    }
    assert_eq!(request.as_deref(), Some(b"GET / HTTP/1.1\r\n\r\n".as_slice()));
    web.ring.send(handle, Bytes::from_static(b"hello"));
    let sent = web.until(|completion| match completion {
        Completion::Sent { count, .. } => Some(*count),
        _ => None,
    });
    assert_eq!(sent, 5);
    web.ring.shutdown(handle);
    web.ring.receive(handle);
    web.ring.poll().unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello");
    drop(client);
    web.until(|completion| matches!(completion, Completion::Finished(_)).then_some(()));
    web.ring.close(handle);
    for _ in 0..200 {
        if web.ring.open_connections() == 0 {
            return;
        }
        web.ring.wait(Some(Span::from_millis(50))).unwrap();
        web.ring.reap(&mut web.batch);
    }
    panic!("the descriptor was never closed");
}

#[test]
fn a_closed_connection_with_a_send_in_flight_lets_go_of_everything() {
    let mut web = Web::new();
    let (handle, client) = web.accept();
    web.ring.receive(handle);
    let block = Bytes::from(vec![1; 1 << 20]);
    // The client never reads: a send stays in flight once the socket buffers are full.
    for _ in 0..64 {
        web.ring.send(handle, block.clone());
        web.ring.wait(Some(Span::from_millis(100))).unwrap();
        web.ring.reap(&mut web.batch);
        if !web.batch.iter().any(|completion| matches!(completion, Completion::Sent { .. })) {
            break;
        }
        web.batch.clear();
    }
    web.ring.close(handle);
    for _ in 0..200 {
        if web.ring.open_connections() == 0 {
            break;
        }
        web.ring.wait(Some(Span::from_millis(50))).unwrap();
        web.ring.reap(&mut web.batch);
    }
    assert_eq!(web.ring.open_connections(), 0);
    drop(block.try_into_mut().expect("the ring holds no copy any more"));
    drop(client);
}

/// More completions than the queue holds, and no multishot that ends of it: these two are not the same figure.
#[test]
fn completions_that_find_their_queue_full_are_counted_and_none_is_lost() {
    let mut web = Web::with(RingOptions { submissions: 4, completions: 8, ..RingOptions::default() });
    let mut clients: Vec<(Handle, TcpStream)> = (0..20).map(|_| web.accept()).collect();
    assert_eq!(web.ring.counters().cq_overflows, 0);
    clients.iter().for_each(|(handle, _)| web.ring.send(*handle, Bytes::from_static(b"hello")));
    for _ in 0..20 {
        web.until(|completion| matches!(completion, Completion::Sent { count: 5, .. }).then_some(()));
    }
    for (_, client) in &mut clients {
        let mut five = [0; 5];
        client.read_exact(&mut five).unwrap();
    }
    let counters = web.ring.counters();
    assert_eq!(counters.ended_completions_full, 0);
    assert!(counters.cq_overflows > 0, "20 completions do not fit 8 places: {counters:?}");
}
