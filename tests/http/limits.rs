//! Limits, in virtual time: the right answer at each, and nobody else notices.

use std::net::IpAddr;

use micring::http::Action;
use micring::time::Span;
use proptest::prelude::*;

use crate::support::{ARRAY, Response, World, config};

fn address(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_others_stay() {
    let mut config = config();
    config.connections = 5;
    let mut world = World::new(config);
    let open: Vec<_> = (0..5).map(|_| world.connect()).collect();
    let sixth = world.connect();
    let response = Response::one(&world.take(sixth));
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("1")));
    assert!(response.error().contains("connections"));
    assert!(world.peer(sixth).fin && !world.peer(sixth).closed, "its request is read, not reset");
    world.say(sixth, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(world.take(sixth), b"");
    world.pass(Span::from_secs(2));
    assert!(world.peer(sixth).closed);

    world.say(open[0], "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(world.peer(open[0]).closed);
    assert_eq!(world.get("/healthz").status, 200, "a place came free");
    assert_eq!(world.server.figures(ARRAY).rejected, 1);
}

#[test]
fn refusals_are_bounded_too() {
    let mut config = config();
    config.connections = 1;
    let mut world = World::new(config);
    let only = world.connect();
    let refused = (0..5000).filter(|_| world.connect_from(address(1)).is_some()).count();
    assert_eq!(refused, 64);
    assert_eq!(world.server.figures(ARRAY).connections_open, 65);
    assert_eq!(world.server.figures(ARRAY).rejected, 5000);
    world.pass(Span::from_secs(2));
    assert_eq!(world.server.figures(ARRAY).connections_open, 1);
    world.say(only, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(Response::one(&world.take(only)).status, 200);
}

#[test]
fn one_address_has_its_own_limit_in_either_family() {
    let mut config = config();
    config.connections_per_address = 3;
    let mut world = World::new(config);
    let open: Vec<_> = (0..3).map(|_| world.connect_from(address(1)).expect("taken")).collect();
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
    let refused = world.connect_from(mapped).expect("told so");
    assert_eq!(Response::one(&world.take(refused)).status, 503);
    let other = world.connect_from(address(2)).expect("taken");
    assert_eq!(world.take(other), b"");
    world.finish(open[0]);
    let again = world.connect_from(mapped).expect("taken");
    assert_eq!(world.take(again), b"");
}

#[test]
fn a_head_has_ten_seconds_however_it_trickles() {
    let mut world = World::plain();
    let (silent, slow, in_time) = (world.connect(), world.connect(), world.connect());
    for byte in "GET /api/".bytes() {
        world.say(slow, [byte]);
        world.say(in_time, [byte]);
        world.pass(Span::from_secs(1));
    }
    world.say(in_time, "latest HTTP/1.1\r\nHost: localhost\r\n\r\n");
    world.pass(Span::from_secs(1));
    for id in [silent, slow] {
        let response = Response::one(&world.take(id));
        assert_eq!((response.status, world.peer(id).fin), (408, true));
    }
    assert_eq!(Response::one(&world.take(in_time)).status, 200);

    // The next head has its own ten seconds, from its first byte; between requests a minute may pass.
    world.pass(Span::from_secs(45));
    world.say(in_time, "GET ");
    world.pass(Span::from_millis(9_900));
    assert_eq!(world.take(in_time), b"");
    world.pass(Span::from_millis(200));
    assert_eq!(Response::one(&world.take(in_time)).status, 408);
    assert_eq!(world.server.figures(ARRAY).rejected, 3);
}

#[test]
fn an_idle_connection_closes_after_a_minute_without_a_word() {
    let mut world = World::plain();
    let id = world.connect();
    world.say(id, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    world.take(id);
    world.pass(Span::from_secs(59));
    assert!(!world.peer(id).closed);
    world.pass(Span::from_secs(2));
    assert!(world.peer(id).closed);
    assert_eq!(world.take(id), b"");
}

#[test]
fn empty_lines_buy_no_time() {
    for line in [&["\r\n"][..], &["\r", "\n"], &["\r\n\r", "\n"]] {
        let mut world = World::plain();
        let (fresh, used) = (world.connect(), world.connect());
        world.say(used, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        world.take(used);
        let mut said = line.iter().cycle();
        for _ in 0..130 {
            for id in [fresh, used] {
                if !world.peer(id).closed && !world.peer(id).fin {
                    world.say(id, said.clone().next().expect("endless"));
                }
            }
            said.next();
            world.pass(Span::from_millis(500));
        }
        assert_eq!(Response::one(&world.take(fresh)).status, 408, "{line:?}");
        assert_eq!(world.take(used), b"", "{line:?}");
        assert!(world.peer(used).closed, "{line:?}: a minute after its answer");
    }
    // They are skipped all the same, and the head's time begins after them.
    let mut world = World::plain();
    let id = world.connect();
    for text in ["\r\n\r", "\n", "\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\r", "\n"] {
        world.pass(Span::from_secs(2));
        world.say(id, text);
    }
    assert_eq!(Response::one(&world.take(id)).status, 200);
    world.pass(Span::from_secs(50));
    world.say(id, "\r\nGET /healthz");
    world.pass(Span::from_millis(9_900));
    world.say(id, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(Response::one(&world.take(id)).status, 200);
}

#[test]
fn input_is_not_asked_for_beyond_what_a_connection_may_hold() {
    let mut world = World::plain();
    let id = world.connect();
    world.peer(id).reads = false;
    // 1 MiB of requests while the first answer is not taken: the reader holds a head's worth and one receive.
    world.say(id, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(25_000));
    assert!(world.peer(id).unsent() > 1_000_000);
    world.peer(id).reads = true;
    world.run();
    assert_eq!(Response::all(&world.take(id)).len(), 25_000);
}

#[test]
fn heads_too_long_are_answered_whatever_their_pieces() {
    let many = "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned() + &"X: y\r\n".repeat(100) + "\r\n";
    for (expected, text) in [
        (414, "GET /".to_owned() + &"a".repeat(20_000)),
        (431, "GET / HTTP/1.1\r\nX: ".to_owned() + &"a".repeat(20_000)),
        (431, many),
    ] {
        for recv_limit in [1, 1000, 100_000] {
            let mut world = World::plain();
            world.recv_limit = recv_limit;
            let (bytes, closed) = world.ask(&text);
            assert_eq!((Response::one(&bytes).status, closed), (expected, true));
        }
    }
}

#[test]
fn five_thousand_connections_opened_and_dropped_leave_nothing() {
    let mut world = World::plain();
    for n in 0..5000u32 {
        let id = world.connect();
        match n % 3 {
            0 => world.finish(id),
            1 => world.say(id, "GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            _ => world.say(id, "GET /api/sl"),
        }
        if !world.peer(id).closed {
            world.server.failed(id);
            world.peer(id).closed = true;
        }
        assert!(id.slot < 2, "slots are used again");
    }
    assert!(world.server.is_drained());
    assert_eq!(world.server.next_timeout(), None);
    assert_eq!(world.server.figures(ARRAY).subscribers, 0);
}

#[test]
fn late_completions_of_a_closed_connection_are_ignored() {
    let mut world = World::plain();
    let old = world.connect();
    world.finish(old);
    let new = world.connect();
    assert_eq!((new.slot, new.generation), (old.slot, old.generation + 1));
    world.server.receive(old, b"GET / HTTP/1.1\r\n\r\n", world.now);
    world.server.sent(old, 17, world.now);
    world.server.failed(old);
    world.run();
    assert_eq!(world.take(new), b"");
    assert!(!world.peer(new).closed);
}

#[test]
fn connections_take_turns() {
    let mut world = World::plain();
    // One asks for dozens of answers at once and takes each immediately, the others ask for one.
    let greedy = world.connect();
    let modest: Vec<_> = (0..10).map(|_| world.connect()).collect();
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (n, &id) in modest.iter().enumerate() {
        if n == 5 {
            world.server.receive(greedy, request.repeat(80).as_bytes(), world.now);
        }
        world.server.receive(id, request.as_bytes(), world.now);
    }
    let mut order = Vec::new();
    while let Some(action) = world.server.poll_action(&mut world.source) {
        if let Action::Send(id, bytes) = action {
            order.push(id);
            world.server.sent(id, bytes.len(), world.now);
        }
    }
    assert_eq!(order.len(), 90);
    for id in &modest {
        let turn = order.iter().position(|o| o == id).expect("answered");
        assert!(turn < 2 * 11, "nobody waits for more than two answers of each: {turn}");
    }
}

/// One thing that happens to a server with many clients.
#[derive(Clone, Debug)]
enum Event {
    Connect(u8),
    Say(usize, &'static str),
    Finish(usize),
    Fail(usize),
    Stall(usize, bool),
    Emit(u32, i64),
    Pass(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let said = prop::sample::select(vec![
        "GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 3\r\n\r\n",
        "GET /api/stream_3ch?format=binary HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/stream_3ch.wav?bits=16 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/download_buffer HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/download_buffer_text HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /he",
        "\n",
    ]);
    prop_oneof![
        2 => (0u8..4).prop_map(Event::Connect),
        4 => (any::<prop::sample::Index>(), said).prop_map(|(i, text)| Event::Say(i.index(64), text)),
        1 => (0usize..64).prop_map(Event::Finish),
        1 => (0usize..64).prop_map(Event::Fail),
        3 => (0usize..64, any::<bool>()).prop_map(|(i, stall)| Event::Stall(i, stall)),
        4 => (1u32..600, prop_oneof![9 => Just(0), 1 => 1i64..2000]).prop_map(|(n, skipped)| Event::Emit(n, skipped)),
        2 => (0i64..20_000).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Whatever happens to many clients at once: the rules of `World` hold (one receive and one send in flight, nothing
    /// after the end), nobody is counted twice, and in the end everything is given back.
    #[test]
    fn any_history_of_many_clients_ends_clean(
        events in prop::collection::vec(event(), 1..150),
        send_limit in 1usize..20_000,
        keep in 600i64..20_000,
    ) {
        let mut config = config();
        (config.connections, config.connections_per_address, config.queue) = (12, 5, 3);
        let mut world = World::new(config);
        world.send_limit = send_limit;
        world.source.keep = keep;
        let mut ids = Vec::new();
        for event in events {
            let open: Vec<_> = ids.iter().copied().filter(|&id| !world.peer(id).closed).collect();
            let pick = |i: usize| open.get(i % open.len().max(1)).copied();
            match event {
                Event::Connect(n) => ids.extend(world.connect_from(address(n))),
                Event::Say(i, text) => if let Some(id) = pick(i) { world.say(id, text) },
                Event::Finish(i) => if let Some(id) = pick(i) { world.finish(id) },
                Event::Fail(i) => if let Some(id) = pick(i) {
                    world.server.failed(id);
                    world.peer(id).closed = true;
                },
                Event::Stall(i, stall) => if let Some(id) = pick(i) {
                    world.peer(id).reads = !stall;
                    world.run();
                },
                Event::Emit(frames, skipped) => { world.emit_after(frames, skipped); }
                Event::Pass(ms) => world.pass(Span::from_millis(ms)),
            }
            let figures = world.server.figures(ARRAY);
            let open = ids.iter().filter(|&&id| !world.peer(id).closed).count() as u64;
            prop_assert_eq!(figures.connections_open, open);
            prop_assert!(open <= 12 + 64 && figures.subscribers <= 12);
        }
        world.server.begin_shutdown();
        world.run();
        world.pass(Span::from_secs(31));
        prop_assert!(world.server.is_drained());
        prop_assert_eq!(world.server.next_timeout(), None);
        prop_assert_eq!(world.server.figures(ARRAY).subscribers, 0);
    }
}
