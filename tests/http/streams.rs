//! Live streams: what subscribers get, lose, resume; and that none costs another anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use micring::http::PacketEvent;
use micring::time::{KernelTime, Span};

use crate::support::{ARRAY, EPOCH_US, FRAME_BYTES, Response, World, config, frames, sample, sse_events};

fn ids(bytes: &[u8]) -> Vec<u64> {
    sse_events(bytes).iter().map(|(id, _)| id.expect("an id")).collect()
}

#[test]
fn an_event_is_the_contract_s_to_the_byte() {
    let mut world = World::plain();
    let id = world.subscribe("/api/stream_3ch", "");
    assert_eq!(world.take(id), b"retry: 1000\n: run 0\n\n");
    // Longer than what is encoded in one piece.
    world.emit(2000);
    let cycle = world.emit_after(3, 512);
    assert_eq!(cycle.first_frame.0, 2512);
    let text = String::from_utf8(world.take(id)).expect("UTF-8");
    let second = text.split_inclusive("\n\n").nth(1).expect("two events");
    let arrival = EPOCH_US + 2512 * 20_833 / 1000;
    let expected = format!(
        "id: 1\ndata: {{\"device_id\": \"3ch-assembled\", \"sample_rate\": 48000, \"channels\": 3, \"bits\": 32, \
         \"format\": \"s32le\", \"timestamp\": \"2026-11-22 11:05:00\", \"data\": \"{}\", \"first_frame\": 2512, \
         \"frames\": 3, \"mic_samples\": [3, 3, 0], \"arrival_us\": [{arrival}, {}, null], \"run\": 0}}\n\n",
        STANDARD.encode(frames(2512..2515)),
        arrival + 104,
    );
    assert_eq!(second, expected);
    let first = &sse_events(text.as_bytes())[0].1;
    assert_eq!(STANDARD.decode(first["data"].as_str().expect("text")).expect("base64"), frames(0..2000));
}

#[test]
fn a_binary_event_says_the_same() {
    let mut world = World::plain();
    let id = world.subscribe("/api/stream_3ch?format=binary", "");
    world.emit(1);
    world.take(id);
    let cycle = world.emit(4);
    let event = world.take(id);
    let u32_at = |at: usize| u32::from_le_bytes(event[at..at + 4].try_into().expect("four"));
    let i64_at = |at: usize| i64::from_le_bytes(event[at..at + 8].try_into().expect("eight"));
    assert_eq!(u32_at(0) as usize, event.len() - 4);
    assert_eq!(event[4..8], [1, 3, 32, 0]);
    assert_eq!((i64_at(8), i64_at(16)), (1, 1));
    assert_eq!(i64_at(24), cycle.emitted.as_micros());
    assert_eq!((i64_at(32), i64_at(40), i64_at(48)), (EPOCH_US + 20, EPOCH_US + 124, i64::MIN));
    assert_eq!([56, 60, 64, 68, 72, 76].map(u32_at), [4, 4, 0, 4, 48_000, 0]);
    assert_eq!(event[80..], frames(1..5));
    world.pass(Span::from_secs(16));
    assert_eq!(world.take(id), [4, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn packets_are_events_only_while_somebody_listens() {
    let mut world = World::plain();
    assert!(!world.server.wants_packets(ARRAY));
    let id = world.subscribe("/api/stream", "Last-Event-ID: 0\r\n");
    assert!(world.server.wants_packets(ARRAY));
    world.take(id);
    let samples: Vec<u8> = [3i32, -5].iter().flat_map(|s| s.to_le_bytes()).collect();
    for (rms, shown, channels) in
        [(4.123_105_625_617_661, "4.123105625617661", 1), (0.0, "0.0", 2), (2_147_483_648.0, "2147483648.0", 1)]
    {
        let arrival = KernelTime::from_nanos(EPOCH_US * 1000 + 999);
        let packet = PacketEvent { mic: 2, channels, samples: &samples, rms, arrival };
        world.server.publish_packet(ARRAY, &packet, world.now, &world.source);
        world.run();
        let expected = format!(
            "data: {{\"device_id\": \"udp-mic2\", \"sample_rate\": 48000, \"channels\": {channels}, \"bits\": 32, \
             \"format\": \"s32le\", \"timestamp\": \"2026-11-22 11:05:00\", \"data\": \"AwAAAPv///8=\", \
             \"rms\": {shown}, \"arrival_us\": {EPOCH_US}}}\n\n",
        );
        assert_eq!(String::from_utf8(world.take(id)).expect("UTF-8"), expected);
    }
    world.finish(id);
    assert!(!world.server.wants_packets(ARRAY));
    assert_eq!(world.server.figures(ARRAY).resumed, 0);
}

#[test]
fn fifty_that_never_read_cost_the_one_that_does_nothing() {
    let mut world = World::plain();
    let stalled: Vec<_> = (0..50).map(|_| world.subscribe("/api/stream_3ch", "")).collect();
    for &id in &stalled {
        world.peer(id).reads = false;
    }
    let reader = world.subscribe("/api/stream_3ch", "");
    for cycle in 0..1000u64 {
        world.emit(16);
        assert_eq!(ids(&world.take(reader)), [cycle], "each event at once");
    }
    // One in flight and 64 waiting: the other 935 are lost, to each.
    let figures = world.server.figures(ARRAY);
    assert_eq!((figures.subscribers, figures.events_dropped, figures.events_sent), (51, 50 * 935, 1000));
    let id = stalled[7];
    world.take(id);
    world.peer(id).reads = true;
    world.run();
    let expected: Vec<u64> = std::iter::once(0).chain(936..1000).collect();
    assert_eq!(ids(&world.take(id)), expected, "the gap shows in the ids");
    // Those who make no progress are cut off in the end, and stay counted.
    world.pass(Span::from_secs(31));
    assert!(world.peer(stalled[0]).closed && !world.peer(id).closed && !world.peer(reader).closed);
    let figures = world.server.figures(ARRAY);
    assert_eq!((figures.subscribers, figures.events_dropped, figures.rejected), (2, 50 * 935, 49));
}

#[test]
fn a_slow_reader_gets_whole_events_and_knows_what_it_lost() {
    let mut world = World::plain();
    world.send_limit = 100;
    let id = world.subscribe("/api/stream_3ch", "");
    for round in 0..300 {
        world.peer(id).reads = round % 100 == 99;
        world.emit(64);
    }
    let got = ids(&world.take(id));
    assert!(got.windows(2).all(|w| w[0] < w[1]) && got.last() == Some(&299));
    let figures = world.server.figures(ARRAY);
    assert_eq!(figures.events_sent, got.len() as u64);
    assert_eq!(figures.events_sent + figures.events_dropped, 300);
}

#[test]
fn whoever_is_behind_gets_several_events_in_one_send() {
    let mut world = World::plain();
    let [prompt, behind, other] = [(); 3].map(|()| world.subscribe("/api/stream_3ch", ""));
    for id in [prompt, behind, other] {
        world.take(id);
        world.peer(id).reads = id == prompt;
    }
    for _ in 0..10 {
        world.emit(16);
    }
    let all = world.take(prompt);
    assert_eq!(ids(&all), Vec::from_iter(0..10));
    // The first was in flight alone; nine wait.
    let mut got = Vec::new();
    for (count, sent) in [(1, 11), (4, 15), (4, 19), (1, 20)] {
        world.complete_one(behind);
        let piece = world.take(behind);
        assert_eq!((ids(&piece).len(), world.server.figures(ARRAY).events_sent), (count, sent));
        got.extend(piece);
    }
    assert!(got == all, "the same bytes as one by one");
    // In pieces cut anywhere it counts each event once.
    world.send_limit = 1000;
    world.peer(other).reads = true;
    world.run();
    assert!(world.take(other) == all, "the same bytes in small pieces");
    let figures = world.server.figures(ARRAY);
    assert_eq!((figures.events_sent, figures.events_dropped), (30, 0));
}

#[test]
fn a_client_that_comes_back_loses_nothing_that_is_still_held() {
    let mut world = World::plain();
    world.source.keep = 100 * 32;
    for _ in 0..300 {
        world.emit(32);
    }
    for (fields, query, first) in [
        ("Last-Event-ID: 249\r\n", "", 250),
        ("", "?last_event_id=249", 250),
        // Older than what is held: from the oldest on.
        ("Last-Event-ID: 17\r\n", "", 200),
        ("Last-Event-ID: 298\r\n", "", 299),
        // The newest, the future, nonsense: live.
        ("Last-Event-ID: 299\r\n", "", 300),
        ("Last-Event-ID: 300\r\n", "", 300),
        ("Last-Event-ID: 5000\r\n", "", 300),
        ("Last-Event-ID: 18446744073709551615\r\n", "", 300),
        ("Last-Event-ID: -1\r\n", "", 300),
        ("Last-Event-ID: x\r\n", "", 300),
    ] {
        let id = world.subscribe(&format!("/api/stream_3ch{query}"), fields);
        let expected: Vec<u64> = (first..300).collect();
        assert_eq!(ids(&world.take(id)), expected, "{fields}{query}");
    }
    assert_eq!(world.server.figures(ARRAY).resumed, 5);
    assert_eq!(world.server.figures(ARRAY).events_dropped, 0);
}

#[test]
fn an_id_of_another_run_starts_live() {
    const RUN: u64 = 1_795_341_900_123;
    let mut world = World::plain();
    world.server.add(ARRAY, RUN);
    world.source.next_id = RUN;
    // Before the first cycle, and still there when it comes.
    let early = world.subscribe("/api/stream_3ch", "Last-Event-ID: 39\r\n");
    for _ in 0..60 {
        world.emit(32);
    }
    assert_eq!(ids(&world.take(early)), Vec::from_iter(RUN..RUN + 60));
    for (last, first) in
        [(39, 60), (RUN - 2, 60), (RUN - 1, 0), (RUN, 1), (RUN + 39, 40), (RUN + 59, 60), (RUN + 60, 60)]
    {
        let id = world.subscribe("/api/stream_3ch", &format!("Last-Event-ID: {last}\r\n"));
        assert_eq!(ids(&world.take(id)), Vec::from_iter(RUN + first..RUN + 60), "{last}");
        let id = world.subscribe(&format!("/api/stream_3ch?format=binary&last_event_id={last}"), "");
        let (run, events) = world.peer(id).got.split_at(16);
        assert_eq!(run, [&[12, 0, 0, 0, 2, 0, 0, 0], &RUN.to_le_bytes()[..]].concat());
        assert_eq!(events.len(), (60 - first as usize) * (80 + 32 * FRAME_BYTES), "{last}");
    }
    let figures = world.server.figures(ARRAY);
    assert_eq!((figures.resumed, figures.events_dropped), (8, 0));
}

#[test]
fn resuming_is_lazy_and_joins_the_live_stream_without_a_seam() {
    let mut world = World::plain();
    for _ in 0..200 {
        world.emit(32);
    }
    let id = world.connect();
    world.peer(id).reads = false;
    let before = world.source.reads.get();
    world.say(id, "GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 9\r\n\r\n");
    assert_eq!(world.source.reads.get(), before, "nothing is encoded before the socket takes it");
    // While the client does not read, more cycles come than the queue holds: what it missed is still in the history.
    for _ in 0..150 {
        world.emit(32);
    }
    world.peer(id).reads = true;
    world.run();
    world.emit(32);
    let got = world.take(id);
    let body = got.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(ids(&got[body..]), (10..351).collect::<Vec<u64>>());
    for (event, (_, json)) in sse_events(&got[body..]).iter().enumerate() {
        let first = (event as i64 + 10) * 32;
        assert_eq!(STANDARD.decode(json["data"].as_str().expect("text")).expect("base64"), frames(first..first + 32));
    }
    assert_eq!(world.server.figures(ARRAY).events_dropped, 0);
    // Caught up: now the queue's bound applies.
    world.peer(id).reads = false;
    for _ in 0..100 {
        world.emit(32);
    }
    assert_eq!(world.server.figures(ARRAY).events_dropped, 100 - 65);
}

#[test]
fn what_the_history_loses_while_a_client_resumes_is_counted() {
    let mut world = World::plain();
    world.source.keep = 100 * 32;
    for _ in 0..100 {
        world.emit(32);
    }
    let id = world.connect();
    world.peer(id).reads = false;
    world.say(id, "GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 9\r\n\r\n");
    for _ in 0..150 {
        world.emit(32);
    }
    world.peer(id).reads = true;
    world.run();
    let got = world.take(id);
    let body = got.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(ids(&got[body..]), (150..250).collect::<Vec<u64>>());
    assert_eq!(world.server.figures(ARRAY).events_dropped, 140);
}

#[test]
fn a_cycle_that_is_gone_before_it_is_published_is_a_counted_gap() {
    let mut world = World::plain();
    world.source.keep = 100;
    let json = world.subscribe("/api/stream_3ch", "");
    let binary = world.subscribe("/api/stream_3ch?format=binary", "");
    world.take(json);
    world.take(binary);
    world.emit(100);
    world.emit(101);
    // Two cycles leave in one turn, and the skip between them is longer than the history.
    let (first, second) = (world.source.emit(50, 0), world.source.emit(50, 200));
    for cycle in [first, second] {
        world.server.publish_cycle(ARRAY, &cycle, world.now, &world.source);
    }
    world.run();
    assert_eq!(ids(&world.take(json)), [0, 3]);
    assert_eq!(world.take(binary).len(), 2 * 80 + 150 * FRAME_BYTES);
    assert_eq!((world.server.figures(ARRAY).events_sent, world.server.figures(ARRAY).events_dropped), (4, 4));
}

#[test]
fn an_idle_stream_is_kept_open_and_a_dead_one_noticed() {
    let mut world = World::plain();
    let id = world.subscribe("/api/stream_3ch", "");
    world.take(id);
    world.pass(Span::from_secs(14));
    assert_eq!(world.take(id), b"");
    world.pass(Span::from_secs(32));
    let got = String::from_utf8(world.take(id)).expect("UTF-8");
    let comments: Vec<&str> = got.split_terminator("\n\n").collect();
    assert_eq!(comments.len(), 3);
    assert!(comments.iter().all(|c| c.starts_with(':') && !c.contains('\n')));
    world.emit(8);
    world.pass(Span::from_secs(14));
    assert_eq!(ids(&world.take(id)), [0], "events take the comment's place");
    world.pass(Span::from_secs(2));
    assert!(world.take(id).starts_with(b":"));
    assert_eq!(world.server.figures(ARRAY).events_sent, 1, "a comment is no event");

    world.finish(id);
    assert!(world.peer(id).closed);
    assert_eq!(world.server.figures(ARRAY).subscribers, 0);
    let id = world.subscribe("/api/stream_3ch.wav", "");
    world.server.failed(id);
    world.peer(id).closed = true;
    world.emit(8);
    assert_eq!(world.server.figures(ARRAY).subscribers, 0);
    assert!(world.server.is_drained());
}

#[test]
fn a_comment_does_not_come_inside_an_event_that_took_long() {
    for (path, heartbeat) in
        [("/api/stream_3ch", &b": still here\n\n"[..]), ("/api/stream_3ch?format=binary", &[4, 0, 0, 0, 0, 0, 0, 0])]
    {
        let mut world = World::plain();
        let id = world.subscribe(path, "");
        world.take(id);
        let other = world.subscribe(path, "");
        world.take(other);
        world.peer(id).reads = false;
        world.send_limit = 100;
        world.emit(64);
        world.pass(Span::from_secs(16));
        // The send completes short, and the timeouts of this turn come before its actions.
        world.complete_unpolled(id);
        world.server.handle_timeout(world.now);
        world.peer(id).reads = true;
        world.run();
        let (got, idle) = (world.take(id), world.take(other));
        let (event, comment) = idle.split_at(idle.len() - heartbeat.len());
        assert_eq!(comment, heartbeat, "{path}");
        assert!(got == event, "{path}: {} bytes of {}", got.len(), event.len());
    }
}

#[test]
fn streams_end_with_a_whole_event_when_the_server_goes() {
    let mut world = World::plain();
    let reader = world.subscribe("/api/stream_3ch", "");
    let slow = world.subscribe("/api/stream_3ch", "");
    world.emit(512);
    world.peer(slow).reads = false;
    world.emit(512);
    world.server.begin_shutdown();
    world.run();
    assert!(world.peer(reader).closed && !world.peer(slow).closed && !world.server.is_drained());
    assert!(!world.server.accept(world.next_id(), ([127, 0, 0, 1], 1).into(), world.now));
    world.send_limit = 1000;
    world.peer(slow).reads = true;
    world.run();
    assert_eq!(ids(&world.take(slow)), [0, 1]);
    assert!(world.server.is_drained());
}

#[test]
fn finite_answers_go_out_when_the_server_goes() {
    let mut world = World::plain();
    world.emit(512);
    let (answered, idle) = (world.connect(), world.connect());
    world.peer(answered).reads = false;
    world.say(answered, "GET /api/download_buffer_text HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2));
    world.server.begin_shutdown();
    world.run();
    assert!(world.peer(idle).closed && !world.peer(answered).closed);
    world.peer(answered).reads = true;
    world.run();
    assert_eq!(Response::one(&world.take(answered)).body.iter().filter(|&&b| b == b'\n').count(), 513);
    world.pass(Span::from_secs(2));
    assert!(world.server.is_drained());
}

#[test]
fn the_endless_wav_is_the_audio_with_silence_where_there_was_none() {
    let mut world = World::plain();
    world.emit(100);
    let id = world.subscribe("/api/stream_3ch.wav", "");
    let header = world.take(id);
    // Microsoft's "Multiple channel audio data and WAVE files": extensible, 3 channels, 48 kHz, 32 bits; left, right, centre.
    let expected = [
        &b"RIFF\xff\xff\xff\xffWAVEfmt \x28\0\0\0\xfe\xff\x03\0\x80\xbb\0\0"[..],
        &576_000u32.to_le_bytes(),
        b"\x0c\0\x20\0\x16\0\x20\0\x07\0\0\0\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71data\xff\xff\xff\xff",
    ];
    assert_eq!(header, expected.concat());
    let plain = world.subscribe("/api/stream_3ch.wav?wav=plain", "");
    // "Multimedia Programming Interface and Data Specifications 1.0": PCM.
    let expected = [
        &b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x03\0\x80\xbb\0\0"[..],
        &576_000u32.to_le_bytes(),
        b"\x0c\0\x20\0data\xff\xff\xff\xff",
    ];
    assert_eq!(world.take(plain), expected.concat());
    world.emit(100);
    world.emit_after(50, 30);
    let silence = vec![0; 30 * FRAME_BYTES];
    assert_eq!(world.take(id), [frames(100..200), silence, frames(230..280)].concat());
}

#[test]
fn a_wav_listener_that_falls_behind_the_history_stays_in_time() {
    let mut world = World::plain();
    world.source.keep = 1000;
    world.emit(100);
    let id = world.subscribe("/api/stream_3ch.wav?channels=2,0&bits=16", "");
    world.take(id);
    world.emit(100);
    world.take(id);
    world.peer(id).reads = false;
    for _ in 0..20 {
        world.emit(100);
    }
    world.peer(id).reads = true;
    world.run();
    let got = world.take(id);
    assert_eq!(got.len(), 2000 * 4, "as many frames as were emitted");
    let (samples, _) = got.as_chunks::<4>();
    for (i, frame) in samples.iter().enumerate() {
        let pos = 200 + i as i64;
        // The cycle that was in flight, silence for what was overwritten, then what the history holds.
        let held = !(300..2200 - 1000).contains(&pos);
        let top = |mic| ((i64::from(sample(mic, pos)) + 0x8000) >> 16) as i16;
        let expected = if held { [top(2), top(0)] } else { [0, 0] };
        let frame = [[frame[0], frame[1]], [frame[2], frame[3]]].map(i16::from_le_bytes);
        assert_eq!(frame, expected, "position {pos}");
    }
    assert_eq!(world.server.figures(ARRAY).events_dropped, 9, "cycles");
}

#[test]
fn a_wav_listener_that_falls_far_behind_is_live_again() {
    let mut world = World::plain();
    world.source.keep = 1000;
    let id = world.subscribe("/api/stream_3ch.wav", "");
    world.take(id);
    world.peer(id).reads = false;
    for _ in 0..50 {
        world.emit(100);
    }
    world.peer(id).reads = true;
    world.run();
    assert_eq!(world.take(id), [frames(0..100), frames(4900..5000)].concat());
    assert_eq!(world.server.figures(ARRAY).events_dropped, 48);
    world.emit(100);
    assert_eq!(world.take(id), frames(5000..5100));
    assert_eq!(world.server.figures(ARRAY).events_dropped, 48);
}

#[test]
fn a_player_that_was_halted_is_live_again_although_it_only_keeps_pace() {
    let mut world = World::plain();
    // A piece is 16 KiB: a cycle of 1365 frames is one.
    world.source.keep = 10 * 1365;
    let id = world.subscribe("/api/stream_3ch.wav", "");
    world.take(id);
    world.peer(id).reads = false;
    for _ in 0..15 {
        world.emit(1365);
    }
    for _ in 0..12 {
        world.complete_one(id);
        world.emit(1365);
    }
    world.take(id);
    for _ in 0..20 {
        let newest = world.source.end;
        world.complete_one(id);
        world.emit(1365);
        // Each cycle was put in flight when it was the newest, and completes a cycle later.
        assert!(world.take(id) == frames(newest - 2 * 1365..newest - 1365), "live at {newest}");
    }
}

#[test]
fn a_pause_is_silence_up_to_the_history_s_length_and_one_jump_beyond() {
    for (pause, silence) in [(1, 1), (999, 999), (1000, 1000), (1001, 0), (300_000, 0)] {
        let mut world = World::plain();
        world.source.keep = 1000;
        let id = world.subscribe("/api/stream_3ch.wav", "");
        world.take(id);
        world.emit(100);
        let newcomer = world.subscribe("/api/stream_3ch.wav", "");
        world.take(newcomer);
        world.emit_after(100, pause);
        world.emit(100);
        let after = frames(100 + pause..300 + pause);
        assert_eq!(world.take(id), [frames(0..100), vec![0; silence * FRAME_BYTES], after.clone()].concat(), "{pause}");
        assert_eq!(world.take(newcomer), after, "{pause}: nothing of a pause that began before it came");
        assert_eq!(world.server.figures(ARRAY).events_dropped, 0, "{pause}: nobody was slow");
    }
}

#[test]
fn a_wav_listener_that_was_slow_when_a_long_pause_came_is_live_again_after_it() {
    let mut world = World::plain();
    world.source.keep = 1000;
    let id = world.subscribe("/api/stream_3ch.wav", "");
    world.take(id);
    world.peer(id).reads = false;
    // One in flight and two in the history when the pause begins, which overwrites them.
    for _ in 0..3 {
        world.emit(100);
    }
    world.emit_after(100, 2000);
    world.emit(100);
    world.peer(id).reads = true;
    world.run();
    assert_eq!(world.take(id), [frames(0..100), frames(2400..2500)].concat());
    assert_eq!(world.server.figures(ARRAY).events_dropped, 3);
}

#[test]
fn the_endless_wav_starts_with_the_first_cycle_and_says_what_it_cannot_do() {
    let mut world = World::plain();
    let id = world.subscribe("/api/stream_3ch.wav", "");
    assert_eq!(world.take(id).len(), 68);
    world.emit(10);
    assert_eq!(world.take(id), frames(0..10));
    for query in
        ["channels=3", "channels=", "channels=0,0", "channels=0,1,2,0", "channels=a", "bits=24", "bits=", "wav=mp3"]
    {
        let response = world.get(&format!("/api/stream_3ch.wav?{query}"));
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().starts_with(&query[..3]));
    }
}

#[test]
fn listeners_of_the_wav_share_what_they_hear() {
    let mut world = World::plain();
    world.emit(512);
    let all: Vec<_> = (0..100).map(|_| world.subscribe("/api/stream_3ch.wav", "")).collect();
    let one: Vec<_> = (0..100).map(|_| world.subscribe("/api/stream_3ch.wav?channels=1&bits=16", "")).collect();
    let behind = world.subscribe("/api/stream_3ch.wav", "");
    for &id in all.iter().chain(&one).chain([&behind]) {
        world.take(id);
    }
    world.peer(behind).reads = false;
    for cycle in 1..5 {
        let before = world.source.reads.get();
        world.emit(512);
        assert_eq!(world.source.reads.get() - before, 2, "once for a hundred, of each kind");
        let heard = frames(cycle * 512..(cycle + 1) * 512);
        assert!(all.iter().all(|&id| world.take(id) == heard));
        assert!(one.iter().all(|&id| world.take(id).len() == 1024));
    }
    // Who comes later gets the same audio, at its own pace.
    world.peer(behind).reads = true;
    world.run();
    assert!(world.take(behind) == frames(512..5 * 512));
}

#[test]
fn a_player_that_probes_the_endless_wav_gets_just_what_it_asks_for() {
    let mut world = World::plain();
    world.emit(100);
    let header = {
        let id = world.subscribe("/api/stream_3ch.wav", "");
        world.take(id)
    };
    let mut probe = |range: &str| {
        let id = world.connect();
        world.say(id, format!("GET /api/stream_3ch.wav HTTP/1.1\r\nHost: localhost\r\nRange: {range}\r\n\r\n"));
        let start = world.source.end;
        world.emit(100);
        (world.take(id), start)
    };
    for last in [0, 1, 66, 67, 68, 500] {
        let (got, start) = probe(&format!("bytes=0-{last}"));
        let response = Response::one(&got);
        assert_eq!(response.status, 206);
        assert_eq!(response.field("Content-Range"), Some(format!("bytes 0-{last}/*").as_str()));
        let all = [header.clone(), frames(start..start + 100)].concat();
        assert_eq!(response.body, all[..=last], "{last}");
    }
    for range in ["bytes=0-", "bytes=2-", "bytes=68-99", "bytes=-5", "bytes=0-1,3-4", "nonsense"] {
        let (got, start) = probe(range);
        let response = Response::one(&got);
        assert_eq!((response.status, response.field("Content-Length")), (200, None), "{range}");
        assert_eq!(response.body, [header.clone(), frames(start..start + 100)].concat(), "{range}");
    }
    // Those that have what they asked for listen no more, and ask again on the same connection.
    let id = world.connect();
    for _ in 0..3 {
        world.say(id, "GET /api/stream_3ch.wav HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-99\r\n\r\n");
        world.emit(100);
        assert_eq!(Response::one(&world.take(id)).body.len(), 100);
    }
    assert_eq!(world.server.figures(ARRAY).subscribers, 1 + 6, "those of the whole");
}

#[test]
fn only_what_is_listened_to_is_encoded() {
    let mut world = World::new(config());
    world.emit(512);
    assert_eq!((world.source.reads.get(), world.actions), (0, 0));
    for _ in 0..100 {
        world.subscribe("/api/stream_3ch", "");
    }
    let before = world.source.reads.get();
    world.emit(512);
    assert_eq!(world.source.reads.get() - before, 1, "once for a hundred");
}
