//! Senders that send to a multicast group, as some firmware does to be heard by several servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use micring::sys::udp::interface_index;
use socket2::SockRef;

use crate::rig::{Event, Serve, assert_aligned, micring, offset_of, skips};
use crate::skipped::skipped;

fn serve_on(args: &[&str]) -> std::process::Output {
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"]).args(args);
    command.output().expect("serve ends by itself")
}

/// Fifty cycles to a group, and as many packets that are for this host alone.
fn assert_heard(group: &str, interface: &str, from: &str) {
    let mut command = micring();
    command.args(["serve", "--mic-ports", "0,0,0", "--http", "127.0.0.1:0"]);
    command.args(["--udp-bind", group, "--udp-interface", interface]);
    let serve = Serve::spawn(command);
    assert_eq!(serve.mics.map(|mic| mic.ip().to_string()), [group; 3], "the ready line says where");
    let mut events = serve.events("/api/stream_3ch");
    let mut board = serve.board_from(from);
    let socket = SockRef::from(&board.socket);
    match serve.mics[0] {
        SocketAddr::V4(_) => socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap(),
        SocketAddr::V6(_) => socket.set_multicast_if_v6(interface_index(interface).unwrap()).unwrap(),
    }
    let unicast = SocketAddr::new(from.parse::<SocketAddr>().unwrap().ip(), serve.mics[0].port());
    for _ in 0..50 {
        // Nobody listens there, and the kernel may say so.
        let _ = board.socket.send_to(&[7; 2048], unicast);
        board.cycles(1);
    }
    let got: Vec<Event> = (0..50).map(|_| events.next().expect("the group is joined")).collect();
    let offset = offset_of(&got[0]);
    got.iter().for_each(|event| assert_aligned(event, offset));
    assert!(got.iter().all(Event::is_complete));
    assert_eq!(skips(&got), Vec::<i64>::new());
    assert_eq!(serve.diagnostics()["packet_stats"]["packets_received"], serde_json::json!([50, 50, 50]));
}

#[test]
fn senders_to_a_group_are_heard_and_what_is_not_for_the_group_is_not() {
    assert_heard("239.255.77.1", "lo", "127.0.0.1:0");
}

/// In a network of this thread's own: the loopback interface delivers no IPv6 groups, and there no route leads to any.
#[test]
fn ipv6_groups_too_and_a_missing_route_is_said() {
    // SAFETY: takes a flag, and gives this thread alone (and what it starts) a network of its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        skipped("IPv6 multicast", "no network namespaces here");
        return;
    }
    let ip = |args: &str| assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
    ip("link set lo up");
    let output = serve_on(&["--udp-bind", "239.255.77.1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let what = "micring: cannot join the group 239.255.77.1 (mic 0): No such device: no route leads to it: ";
    assert_eq!(said, format!("{what}name the interface that the microphones are on, --udp-interface\n"));
    ip("link add mca type veth peer name mcb");
    ip("addr add fd77::1/64 dev mca nodad");
    ip("link set mca up");
    ip("link set mcb up");
    assert_heard("ff15::77:1", "mca", "[fd77::1]:0");
    assert_heard("ff12::77:1", "mca", "[fd77::1]:0");
}

#[test]
fn two_servers_can_listen_to_one_group() {
    let start = |ports: &str| {
        let mut command = micring();
        command.args(["serve", "--mic-ports", ports, "--http", "127.0.0.1:0"]);
        command.args(["--udp-bind", "239.255.77.2", "--udp-interface", "lo"]);
        Serve::spawn(command)
    };
    let first = start("0,0,0");
    let second = start(&first.ports());
    let mut both = [first.events("/api/stream_3ch"), second.events("/api/stream_3ch")];
    let mut board = first.board();
    SockRef::from(&board.socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    board.cycles(10);
    for events in &mut both {
        let got: Vec<Event> = (0..10).map(|_| events.next().expect("each has its copy")).collect();
        got.iter().for_each(|event| assert_aligned(event, offset_of(&got[0])));
    }
}

#[test]
fn a_group_that_cannot_be_joined_is_said_with_what_to_do() {
    let output = serve_on(&["--udp-bind", "239.255.77.1", "--udp-interface", "nosuch0"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "micring: cannot listen on nosuch0 (--udp-interface): No such device: see `ip link`\n");
    // A group of one link, and no link named.
    let output = serve_on(&["--udp-bind", "ff12::77:1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("micring: cannot ") && said.ends_with("Name the interface, --udp-interface\n"), "{said}");
    let output = serve_on(&["--udp-interface", "lo"]);
    assert_eq!(output.status.code(), Some(2), "an interface is for a group");
}
