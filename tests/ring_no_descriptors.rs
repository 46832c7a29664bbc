//! A process without a free descriptor stops accepting, says why, and accepts again as soon as there is one.
//! Alone in its file: the limit holds for the whole test process.

use std::net::TcpStream;

use micring::sys::ring::{Completion, End, Ring, RingOptions};
use micring::sys::tcp;
use micring::sys::udp::StampedSocket;
use micring::time::Span;

fn set_limit(descriptors: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes, then reads, one rlimit that is ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = descriptors;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

#[test]
fn no_descriptor_left_ends_the_accept_and_it_comes_back() {
    let mics = [0; 3].map(|_| StampedSocket::bind("127.0.0.1:0".parse().unwrap(), 65536).unwrap());
    let mut ring = Ring::new(RingOptions::default(), mics).unwrap();
    let listener = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

    // The limit is read when the accept is armed, so it is lowered before.
    set_limit(3);
    ring.listen(listener);
    let mut batch = Vec::new();
    ring.wait(Some(Span::from_secs(5))).unwrap();
    ring.reap(&mut batch);
    assert!(matches!(batch.as_slice(), [Completion::AcceptEnded(End::NoDescriptors)]), "{batch:?}");
    assert_eq!(ring.counters().ended_no_descriptors, 1);

    set_limit(1024);
    batch.clear();
    ring.arm_accept();
    ring.wait(Some(Span::from_secs(5))).unwrap();
    ring.reap(&mut batch);
    match batch.as_slice() {
        [Completion::Accepted { peer, .. }] => assert_eq!(*peer, client.local_addr().unwrap()),
        other => panic!("the waiting client is accepted: {other:?}"),
    }
}
