//! Requests and their answers: routes, methods, versions, errors; split, pipelined, arbitrary.

use micring::http::Cors;
use micring::time::Span;
use proptest::prelude::*;

use crate::support::{ARRAY, Response, World, config};

fn status(world: &mut World, text: &str) -> (u16, bool) {
    let (bytes, closed) = world.ask(text);
    (Response::one(&bytes).status, closed)
}

#[test]
fn every_route_answers() {
    let mut world = World::plain();
    world.emit(512);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/api/diagnostics_sync", "application/json"),
        ("/api/diagnostics", "application/json"),
        ("/api/latest", "application/json"),
        ("/api/download_buffer", "audio/wav"),
        ("/api/download_buffer_text", "text/csv; charset=utf-8; header=present"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "application/json"),
        ("/api/stream_3ch", "text/event-stream"),
        ("/api/stream", "text/event-stream"),
        ("/api/stream_3ch.wav", "audio/wav"),
        ("/api/stream_3ch?format=binary", "application/octet-stream"),
    ] {
        let response = world.get(path);
        assert_eq!((response.status, response.field("Content-Type")), (200, Some(content_type)), "{path}");
        assert_eq!(response.field("Date"), Some("Sun, 22 Nov 2026 10:05:00 GMT"));
        assert_eq!(response.field("Access-Control-Allow-Origin"), path.starts_with("/api/").then_some("*"), "{path}");
        let cache = if path == "/" { "no-cache" } else { "no-store" };
        assert_eq!(response.field("Cache-Control"), Some(cache), "{path}");
        let live = path.starts_with("/api/stream");
        assert_eq!(response.field("X-Accel-Buffering"), live.then_some("no"), "{path}");

        let (bytes, _) = world.ask(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let (head, rest) = Response::head(&bytes).expect("an answer");
        assert_eq!((head.status, &head.fields, rest.len()), (200, &response.fields, 0), "HEAD {path}");
    }
    assert_eq!(world.server.figures(ARRAY).requests, 24);
}

#[test]
fn errors_say_what_and_close_where_they_must() {
    let mut world = World::plain();
    for (expected, closes, text) in [
        (404, false, "GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, false, "GET /api/latest/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, false, "GET /api/download_buffer HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, false, "GET /api/download_buffer?seconds=-1 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, false, "GET /api/stream_3ch?format=xml HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, false, "POST /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, true, "POST /api/latest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"),
        (413, true, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"),
        (501, true, "GET /api/latest HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (501, false, "BREW /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (421, false, "GET /api/latest HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        (421, false, "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, true, "GET /api/latest HTTP/1.1\r\n\r\n"),
        (400, true, "GET /\nHost: localhost\n\n"),
        (505, true, "GET / HTTP/3.0\r\nHost: localhost\r\n\r\n"),
    ] {
        let (bytes, closed) = world.ask(text);
        let response = Response::one(&bytes);
        assert_eq!((response.status, closed), (expected, closes), "{text:?}");
        assert!(response.error().len() > 10, "{text:?}");
        assert_eq!(response.field("Connection"), closes.then_some("close"), "{text:?}");
        assert_eq!(response.field("Allow"), (expected == 405).then_some("GET, HEAD, OPTIONS"));
    }
    world.source.healthy = false;
    let sick = world.get("/healthz");
    assert_eq!((sick.status, sick.error().as_str()), (503, "mic 1 has been silent for 3 s"));
    assert_eq!(sick.field("Retry-After"), Some("1"));
}

#[test]
fn an_error_is_read_before_the_connection_closes() {
    let mut world = World::plain();
    let id = world.connect();
    world.say(id, "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    assert!(world.peer(id).fin && !world.peer(id).closed);
    world.say(id, vec![b'x'; 50_000]);
    assert!(!world.peer(id).closed, "what still comes is read, not reset");
    world.finish(id);
    assert!(world.peer(id).closed);
    assert_eq!(Response::one(&world.take(id)).status, 413);
}

#[test]
fn what_was_sent_behind_the_last_request_does_not_reset_its_answer() {
    let mut world = World::plain();
    let id = world.connect();
    world.say(id, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!(Response::one(&world.take(id)).status, 200);
    assert!(world.peer(id).fin && !world.peer(id).closed);
    world.pass(Span::from_secs(2));
    assert!(world.peer(id).closed);
}

#[test]
fn connections_live_on_as_the_version_says() {
    let mut world = World::plain();
    assert_eq!(status(&mut world, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), (200, false));
    assert_eq!(
        status(&mut world, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        (200, true)
    );
    assert_eq!(status(&mut world, "GET /healthz HTTP/1.0\r\n\r\n"), (200, true));
    let (bytes, closed) = world.ask("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((Response::one(&bytes).field("Connection"), closed), (Some("keep-alive"), false));
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_pieces() {
    let text = "GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n\
                GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n\
                OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n\
                GET /api/diagnostics_sync HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
                GET /api/latest HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let statuses = |bytes: &[u8]| Response::all(bytes).iter().map(|r| r.status).collect::<Vec<_>>();
    for cut in 0..text.len() {
        let mut world = World::plain();
        world.send_limit = 1 + cut % 50;
        let id = world.connect();
        world.say(id, &text[..cut]);
        world.say(id, &text[cut..]);
        let got = world.take(id);
        assert_eq!(statuses(&got), [200, 404, 204, 200], "cut at {cut}: nothing after close");
        assert_eq!(Response::all(&got)[3].body, b"{\"sync\": 1}");
    }
    let mut world = World::plain();
    (world.recv_limit, world.send_limit) = (1, 1);
    let (got, closed) = world.ask(text);
    assert_eq!((statuses(&got), closed), (vec![200, 404, 204, 200], true));
}

#[test]
fn a_client_that_finished_sending_still_has_its_answers() {
    let mut world = World::plain();
    let id = world.connect();
    world.peer(id).reads = false;
    world.say(id, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h");
    world.finish(id);
    world.peer(id).reads = true;
    world.run();
    assert_eq!(Response::all(&world.take(id)).len(), 2);
    assert!(world.peer(id).closed);
}

#[test]
fn preflights_are_answered_without_a_token_and_nothing_else_is() {
    let mut config = config();
    config.token = Some("s3cret+/".into());
    let mut world = World::new(config);
    world.emit(8);
    let preflight = "OPTIONS /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\
                     Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n";
    let (bytes, closed) = world.ask(preflight);
    let response = Response::one(&bytes);
    assert_eq!((response.status, closed), (204, false));
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(response.field("Access-Control-Allow-Methods"), Some("GET, HEAD, OPTIONS"));
    assert!(response.field("Access-Control-Allow-Headers").expect("headers").contains("Authorization"));

    assert_eq!(world.get("/healthz").status, 200);
    for path in ["/", "/metrics", "/api/latest", "/api/stream_3ch", "/nope", "/api/latest?token=s3cret"] {
        let response = world.get(path);
        assert_eq!((response.status, response.field("WWW-Authenticate")), (401, Some("Bearer")), "{path}");
    }
    for path in ["/api/latest?token=s3cret%2B%2f", "/api/stream_3ch?x&token=s3cret+/"] {
        assert_eq!(world.get(path).status, 200, "{path}");
    }
    let bearer = |t: &str| format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: {t}\r\n\r\n");
    assert_eq!(status(&mut world, &bearer("bearer s3cret+/")).0, 200);
    assert_eq!(status(&mut world, &bearer("Bearer s3cret+/ x")).0, 401);
    assert_eq!(status(&mut world, &bearer("Basic s3cret+/")).0, 401);
}

#[test]
fn cors_is_what_the_option_says() {
    let mut config = config();
    config.cors = Cors::Origin("https://a.example".into());
    let mut world = World::new(config.clone());
    let response = world.get("/api/latest");
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("https://a.example"));
    assert_eq!(response.field("Vary"), Some("Origin"));
    assert_eq!(world.get("/metrics").field("Access-Control-Allow-Origin"), None);
    config.cors = Cors::None;
    assert_eq!(World::new(config).get("/api/latest").field("Access-Control-Allow-Origin"), None);
}

#[test]
fn the_page_is_revalidated_and_shut_in() {
    let mut world = World::plain();
    let page = world.get("/");
    let tag = page.field("ETag").expect("a tag").to_owned();
    assert!(page.field("Content-Security-Policy").expect("a policy").starts_with("default-src 'none'"));
    let (bytes, closed) = world.ask(format!("GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"));
    let again = Response::one(&bytes);
    assert_eq!((again.status, again.field("ETag"), closed), (304, Some(tag.as_str()), false));
}

#[test]
fn bodies_are_rendered_once_a_request() {
    let mut world = World::plain();
    world.send_limit = 10;
    let id = world.connect();
    world.say(id, "GET /api/diagnostics_sync HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(7));
    assert_eq!(Response::all(&world.take(id)).len(), 7);
    assert_eq!(world.source.renderings, 7);
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, answers well formed (`Response::all` is strict), an end that holds.
    #[test]
    fn any_input_has_well_formed_answers(
        parts in proptest::collection::vec(prop_oneof![
            Just(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
            Just(b"GET /api/download_buffer_text?seconds=0.001 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec()),
            Just(b"GET /api/download_buffer HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()),
            Just(b"OPTIONS /api/latest HTTP/1.1\r\nHost: [::1]:1\r\n\r\n".to_vec()),
            Just(b"GET /api/stream_3ch HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n".to_vec()),
            Just(b"DELETE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~\r\n]{0,60}".prop_map(String::into_bytes),
        ], 0..8),
        recv_limit in 1usize..200,
        send_limit in 1usize..5000,
        finish in any::<bool>(),
    ) {
        let mut world = World::plain();
        (world.recv_limit, world.send_limit) = (recv_limit, send_limit);
        for _ in 0..4 {
            world.emit(100);
        }
        let id = world.connect();
        for part in &parts {
            world.say(id, part);
            world.emit(100);
        }
        if finish {
            world.finish(id);
        }
        for response in Response::all(&world.take(id)) {
            prop_assert!((200..=505).contains(&response.status));
            prop_assert!(response.status < 400 || !response.error().is_empty());
        }
        world.pass(Span::from_secs(120));
        world.server.begin_shutdown();
        world.run();
        prop_assert!(world.server.is_drained());
        prop_assert!(world.peer(id).closed);
        prop_assert_eq!(world.server.next_timeout(), None);
    }
}
