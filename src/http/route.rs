//! Which path answers what, and who is turned away before.

use bytes::Bytes;

use super::access;
use super::assets::{Asset, CONTENT_SECURITY_POLICY};
use super::body::Body;
use super::csv::CsvDownload;
use super::listing::{AT_ONCE, Listing};
use super::pcm::{LivePcm, PcmFormat};
use super::range::{Asked, Tag};
use super::request::{Bad, Method, Request, Upgrade};
use super::respond::{Content, Length, Response};
use super::stream::{Hubs, Topic};
use super::wav::{self, Form, WavFile};
use super::{Cors, House, HttpConfig, Source, websocket};
use crate::array::ArrayId;
use crate::cycle::Clocks;
use crate::out::Sample;
use crate::time::FramePos;

/// What answering takes beside the request.
pub struct Context<'a> {
    pub config: &'a HttpConfig,
    pub assets: &'a [Asset],
    pub hubs: &'a mut Hubs,
    pub house: &'a mut dyn House,
    /// The array that is asked for; where none is, of no meaning.
    pub array: ArrayId,
    pub clocks: Clocks,
}

impl Context<'_> {
    fn source(&mut self) -> &mut dyn Source {
        self.house.array(self.array)
    }
}

/// The methods of every route.
const ALLOW: &str = "GET, HEAD, OPTIONS";

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Arrays,
    Metrics,
    Health,
    Page(usize),
    /// What one array has.
    Of(Part),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Cycles,
    Records,
    LiveWav,
    LivePcm,
    Sdp,
    Packets,
    DiagnosticsSync,
    Diagnostics,
    Latest,
    Calibrate,
    Download,
    DownloadText,
    Metrics,
    Health,
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const ROUTES: &[(&str, Route)] = &[
    ("/api/stream_3ch", Route::Of(Part::Cycles)),
    ("/api/stream_3ch.wav", Route::Of(Part::LiveWav)),
    ("/api/stream.pcm", Route::Of(Part::LivePcm)),
    ("/api/stream.sdp", Route::Of(Part::Sdp)),
    ("/api/stream", Route::Of(Part::Packets)),
    ("/api/diagnostics_sync", Route::Of(Part::DiagnosticsSync)),
    ("/api/diagnostics", Route::Of(Part::Diagnostics)),
    ("/api/latest", Route::Of(Part::Latest)),
    ("/api/download_buffer", Route::Of(Part::Download)),
    ("/api/download_buffer_text", Route::Of(Part::DownloadText)),
    ("/api/calibrate", Route::Of(Part::Calibrate)),
    ("/api/arrays", Route::Arrays),
    ("/metrics", Route::Metrics),
    ("/healthz", Route::Health),
];

/// Where the routes of each array begin: its name follows, then one of [`PARTS`].
const ARRAYS: &str = "/api/arrays/";

const PARTS: &[(&str, Part)] = &[
    ("stream", Part::Cycles),
    ("stream.bin", Part::Records),
    ("stream.wav", Part::LiveWav),
    ("stream.pcm", Part::LivePcm),
    ("stream.sdp", Part::Sdp),
    ("packets", Part::Packets),
    ("diagnostics", Part::DiagnosticsSync),
    ("summary", Part::Diagnostics),
    ("latest", Part::Latest),
    ("calibrate", Part::Calibrate),
    ("download", Part::Download),
    ("download.csv", Part::DownloadText),
    ("metrics", Part::Metrics),
    ("health", Part::Health),
];

/// What a path leads to, and of which array. `Err`: there is no such array.
fn find(path: &str, context: &Context<'_>) -> Result<Option<(Route, ArrayId)>, Bad> {
    let missing = |what: String| Bad::new(404, what);
    if let Some((name, part)) = path.strip_prefix(ARRAYS).and_then(|rest| rest.split_once('/')) {
        let Some(&(_, part)) = PARTS.iter().find(|(known, _)| *known == part) else { return Ok(None) };
        let array =
            context.house.find(name).ok_or_else(|| missing(format!("no array {name}; /api/arrays lists them")))?;
        return Ok(Some((Route::Of(part), array)));
    }
    let known = ROUTES.iter().find(|(known, _)| *known == path).map(|&(_, route)| route);
    let page = || context.assets.iter().position(|asset| asset.path == path).map(Route::Page);
    let first = context.house.first();
    match (known.or_else(page), first) {
        (Some(Route::Of(_)), None) => Err(missing("no array is there yet; /api/arrays lists them".into())),
        (route, first) => Ok(route.map(|route| (route, first.unwrap_or(ArrayId(0))))),
    }
}

/// The response to a well-formed request.
pub fn answer(request: &Request, context: &mut Context<'_>) -> Response {
    turned_away(request, context.config).unwrap_or_else(|| {
        let route = match find(&request.path, context) {
            Ok(found) => found.map(|(route, array)| {
                context.array = array;
                route
            }),
            Err(missing) => return Response::error(missing.status, &missing.text),
        };
        match (request.method, route) {
            (Method::Options, _) if request.path == "*" => options(request, context.config),
            (Method::Options, Some(_)) => options(request, context.config),
            (Method::Unknown, _) => Response::error(501, "unknown method; GET, HEAD and OPTIONS are answered"),
            (Method::NotAllowed | Method::Post, _) if request.path == "*" => not_allowed(),
            (_, None) => Response::error(404, "no such route; / lists them"),
            (Method::Post, Some(Route::Of(Part::Calibrate))) => body_refused(request).unwrap_or_else(|| {
                begin_calibration(request, context).unwrap_or_else(|bad| Response::error(bad.status, &bad.text))
            }),
            (Method::NotAllowed | Method::Post, Some(_)) => not_allowed(),
            (Method::Get | Method::Head, Some(route)) => body_refused(request).unwrap_or_else(|| {
                serve(route, request, context).unwrap_or_else(|bad| Response::error(bad.status, &bad.text))
            }),
        }
    })
}

/// Requests for another host, or without the token.
fn turned_away(request: &Request, config: &HttpConfig) -> Option<Response> {
    if !access::host_allowed(config, request.host.as_deref()) {
        let text = "this server does not answer for that host name; use localhost or an address, or start it with \
                    --allow-host NAME";
        return Some(Response::error(421, text));
    }
    let open = request.path == "/healthz" || request.method == Method::Options;
    if !open && !access::token_allowed(config, request) {
        let text = "a token is needed: send Authorization: Bearer TOKEN, or ?token=TOKEN";
        return Some(Response::error(401, text).field("WWW-Authenticate", "Bearer"));
    }
    None
}

fn not_allowed() -> Response {
    Response::error(405, "method not allowed; use GET, HEAD or OPTIONS").field("Allow", ALLOW)
}

fn body_refused(request: &Request) -> Option<Response> {
    if request.has_transfer_encoding {
        return Some(Response::error(501, "request bodies are not taken; send none, without Transfer-Encoding"));
    }
    request.has_length.then(|| Response::error(413, "request bodies are not taken; send none"))
}

fn options(request: &Request, config: &HttpConfig) -> Response {
    let response = Response::new(204, "", Content::Nothing).field("Allow", ALLOW);
    if !request.preflight || config.cors == Cors::None || !request.path.starts_with("/api/") {
        return response;
    }
    response
        .field("Access-Control-Allow-Methods", ALLOW)
        .field("Access-Control-Allow-Headers", "Authorization, Cache-Control, If-Range, Last-Event-ID, Range")
        .field("Access-Control-Max-Age", "86400")
}

fn serve(route: Route, request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    let health = |health: Result<(), String>| match health {
        Ok(()) => fresh(JSON, Content::Whole(Bytes::from_static(b"{\"status\": \"ok\"}\n"))),
        Err(reason) => Response::error(503, &reason),
    };
    Ok(match route {
        Route::Arrays | Route::Metrics => {
            let ids = context.house.ids();
            let (of_arrays, few) = (matches!(route, Route::Arrays), ids.len() <= AT_ONCE);
            let content = match (of_arrays, few) {
                (true, true) => Content::Whole(context.house.arrays()),
                (false, true) => Content::Whole(metrics(context)),
                (true, false) => listed(Listing::entries(ids, request.http11), request),
                (false, false) => listed(Listing::metrics(ids, request.http11), request),
            };
            fresh(if of_arrays { JSON } else { PROMETHEUS }, content)
        }
        Route::Health => health(context.house.health()),
        Route::Page(index) => page(&context.assets[index], request, context.config),
        Route::Of(Part::Health) => health(context.source().health()),
        Route::Of(part) => serve_part(part, request, context)?,
    })
}

fn listed(body: Listing, request: &Request) -> Content {
    let length = if request.http11 { Length::Chunked } else { Length::UntilClose };
    Content::Pieces { length, preamble: Vec::new(), body: Body::Listing(body) }
}

fn metrics(context: &mut Context<'_>) -> Bytes {
    let hubs = &*context.hubs;
    context.house.metrics(&|array| hubs.figures_of(array))
}

fn serve_part(part: Part, request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    let stream = context.hubs.figures_of(context.array);
    Ok(match part {
        Part::DiagnosticsSync => fresh(JSON, Content::Whole(context.source().diagnostics_sync(&stream))),
        Part::Diagnostics => fresh(JSON, Content::Whole(context.source().diagnostics(&stream))),
        Part::Calibrate => fresh(JSON, Content::Whole(context.source().calibration())),
        Part::Latest => fresh(JSON, Content::Whole(context.source().latest())),
        Part::Cycles => match request.parameter("format").as_deref() {
            None | Some("json") => events(Topic::Cycles, request, context),
            Some("binary") => events(Topic::BinaryCycles, request, context),
            Some(_) => return Err(Bad::new(400, "format: give json or binary")),
        },
        Part::Records => events(Topic::Records, request, context),
        Part::Packets => events(Topic::Packets, request, context),
        Part::LiveWav => live_wav(request, context)?,
        Part::LivePcm => live_pcm(request, context)?,
        Part::Sdp => match context.source().sdp() {
            Some(sdp) => fresh("application/sdp", Content::Whole(sdp.into())),
            None => return Err(Bad::new(404, "this array is not sent as RTP; start with --rtp-out ADDR:PORT")),
        },
        Part::Download => download(request, context)?,
        Part::DownloadText => {
            let (first, end) = stretch(request, context.source())?;
            let content = Content::Pieces {
                length: if request.http11 { Length::Chunked } else { Length::UntilClose },
                preamble: Vec::new(),
                body: Body::Csv(CsvDownload::new(first, end, request.http11)),
            };
            attachment(200, "text/csv; charset=utf-8; header=present", "csv", content, context)
                .field("Accept-Ranges", "none")
        }
        Part::Metrics => fresh(PROMETHEUS, Content::Whole(context.source().metrics(&stream))),
        Part::Health => unreachable!("answered by `serve`"),
    })
}

/// Claps are listened to from now on; `?distances=` in metres of each microphone from where they are.
fn begin_calibration(request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    if !access::change_allowed(context.config, request) {
        return Err(Bad::new(403, "that page may change nothing here; --cors ORIGIN says which may"));
    }
    let told = request.parameter("distances");
    let metres =
        |text: &str| text.trim().parse::<f64>().map_err(|_| Bad::new(400, "distances: give metres, as 1.5,1.5,2"));
    let distances = told.map(|told| told.split(',').map(metres).collect::<Result<Vec<f64>, Bad>>()).transpose()?;
    context.source().calibrate(distances).map_err(|why| Bad::new(409, why))?;
    Ok(fresh(JSON, Content::Whole(context.source().calibration())))
}

/// An answer that is out of date as soon as it is given.
fn fresh(content_type: &str, content: Content) -> Response {
    Response::new(200, content_type, content).field("Cache-Control", "no-store")
}

/// An endless answer.
fn live(content_type: &str, preamble: Vec<u8>, body: Body) -> Response {
    // nginx and its like would gather events before they pass them on.
    fresh(content_type, Content::Pieces { length: Length::UntilClose, preamble, body }).field("X-Accel-Buffering", "no")
}

fn events(topic: Topic, request: &Request, context: &mut Context<'_>) -> Response {
    let parameter = || request.parameter("last_event_id").or_else(|| request.parameter("from"));
    let asked = request.last_event_id.clone().or_else(parameter);
    let (hub, source) = (context.hubs.of(context.array), &*context.house.array(context.array));
    let body = Body::Events(hub.subscribe(topic, asked.as_deref(), source));
    let content_type = match topic {
        Topic::BinaryCycles | Topic::Records => "application/octet-stream",
        Topic::Cycles | Topic::Packets | Topic::Pcm => SSE,
    };
    live(content_type, hub.preamble(topic, source), body)
}

/// The endless WAV. A range that begins at its first byte and has an end (some players try two bytes before they play) gets
/// just that, of a length that nobody knows; any other is ignored.
fn live_wav(request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    let sample = match request.parameter("bits").as_deref() {
        None | Some("32") => Sample::S32le,
        Some("16") => Sample::S16le,
        Some(_) => return Err(Bad::new(400, "bits: give 16 or 32")),
    };
    let format = live_format(sample, request, context)?;
    let form = Form::parse(request.parameter("wav").as_deref(), Form::Extensible).map_err(|e| Bad::new(400, e))?;
    let mut preamble = wav::live_header(form, &format);
    let source = &*context.source();
    let Some(Asked::From(0, Some(last))) = asked_range(request) else {
        return Ok(live("audio/wav", preamble, Body::LivePcm(LivePcm::new(format, None, source))));
    };
    let bytes = last.saturating_add(1);
    let left = bytes.saturating_sub(preamble.len() as u64);
    preamble.truncate(bytes.min(preamble.len() as u64) as usize);
    let content = match left {
        0 => Content::Whole(preamble.into()),
        left => {
            let body = Body::LivePcm(LivePcm::new(format, Some(left), source));
            Content::Pieces { length: Length::Known(bytes), preamble, body }
        }
    };
    let response = Response::new(206, "audio/wav", content).field("Content-Range", &format!("bytes 0-{last}/*"));
    Ok(response.field("Cache-Control", "no-store").field("X-Accel-Buffering", "no"))
}

/// Channels and rate of an endless stream, as asked for.
fn live_format(sample: Sample, request: &Request, context: &mut Context<'_>) -> Result<PcmFormat, Bad> {
    let bad = |why: String| Bad::new(400, why);
    let (of, own) = (context.source().channels(), context.source().sample_rate());
    let rate = match request.parameter("rate") {
        None => own,
        Some(text) => text.parse().map_err(|_| bad("rate: give a number of Hz, as 16000".into()))?,
    };
    context.hubs.of(context.array).pieces.prepare(own, rate).map_err(bad)?;
    PcmFormat::of(request.parameter("channels").as_deref(), of, sample, rate).map_err(bad)
}

/// Samples and nothing else, until the connection ends; or as the messages of a WebSocket, where that is asked for.
fn live_pcm(request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    let upgrade = request.upgrade.as_ref();
    let accept = upgrade.map(|upgrade| handshake(upgrade, request, context.config)).transpose()?;
    let sample = request.parameter("format").map_or(Ok(Sample::S32le), |name| Sample::parse(&name));
    let sample = sample.map_err(|why| Bad::new(400, format!("format: {why}")))?;
    let format = live_format(sample, request, context)?;
    let mut pcm = LivePcm::new(format, None, &*context.source());
    pcm.framed = accept.is_some();
    let body = Body::LivePcm(pcm);
    Ok(match accept {
        None => live("application/octet-stream", Vec::new(), body),
        Some(accept) => {
            let content = Content::Pieces { length: Length::Switched, preamble: Vec::new(), body };
            Response::new(101, "", content).field("Upgrade", "websocket").field("Sec-WebSocket-Accept", &accept)
        }
    })
}

/// `Sec-WebSocket-Accept` (RFC 6455, 4.2.2), or why not.
fn handshake(upgrade: &Upgrade, request: &Request, config: &HttpConfig) -> Result<String, Bad> {
    if !access::origin_allowed(config, request) {
        return Err(Bad::new(403, "that page may not listen; --cors says which may"));
    }
    if upgrade.version.as_deref() != Some("13") {
        return Err(Bad::new(426, "WebSocket version 13 is spoken here"));
    }
    let accept = upgrade.key.as_deref().and_then(websocket::accept);
    accept.ok_or_else(|| Bad::new(400, "Sec-WebSocket-Key: give 16 bytes in base64"))
}

/// Only GET has ranges (RFC 9110 section 14.2).
fn asked_range(request: &Request) -> Option<Asked> {
    request.range.as_deref().filter(|_| request.method == Method::Get).and_then(Asked::parse)
}

/// The history as WAV, or a range of it: see [`super::range`].
fn download(request: &Request, context: &mut Context<'_>) -> Result<Response, Bad> {
    let form = request.parameter("wav");
    let form = Form::parse(form.as_deref(), Form::Plain).map_err(|e| Bad::new(400, e))?;
    let (first, end) = stretch(request, context.source())?;
    let run = context.hubs.of(context.array).run();
    let source = &*context.source();
    let (channels, rate, held) = (source.channels(), source.sample_rate(), source.span().start);
    let most = wav::max_frames(channels);
    let newest = Tag { run, first: first.max(end + -most), end, form: form.name() };
    let file = |tag: Tag| WavFile::new(form, channels, rate, tag.first, tag.end);
    let mut answer = |status, tag: Tag, content| {
        let response = attachment(status, "audio/wav", "wav", content, context);
        response.field("Accept-Ranges", "bytes").field("ETag", &tag.text())
    };
    let named = request.if_range.as_deref().map(|tag| newest.continued(tag, most).filter(|tag| tag.end <= newest.end));
    let part = match (asked_range(request), named) {
        (Some(asked), Some(Some(tag))) => Some((asked, tag)),
        (Some(asked @ Asked::From(0, _)), None) => Some((asked, newest)),
        _ => None,
    };
    if let Some((asked, tag)) = part {
        let file = file(tag);
        let total = file.bytes();
        match asked.of(total) {
            None => {
                let text = format!("nothing of that range is there: there are {total} bytes");
                return Ok(Response::error(416, &text).field("Content-Range", &format!("bytes */{total}")));
            }
            Some((from, to)) if file.position(from) >= held => {
                let range = format!("bytes {from}-{}/{total}", to - 1);
                return Ok(answer(206, tag, content(&file, from, to)).field("Content-Range", &range));
            }
            // The history holds too little of what it continues.
            Some(_) => {}
        }
    }
    let file = file(newest);
    Ok(answer(200, newest, content(&file, 0, file.bytes())))
}

fn content(file: &WavFile, from: u64, to: u64) -> Content {
    let (preamble, body) = file.part(from, to);
    Content::Pieces { length: Length::Known(to - from), preamble, body: Body::Wav(body) }
}

/// Positions of a download: the whole history, or its last `?seconds=`.
fn stretch(request: &Request, source: &dyn Source) -> Result<(FramePos, FramePos), Bad> {
    let span = source.span();
    let frames = match request.parameter("seconds") {
        None => i64::MAX,
        Some(text) => {
            let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
            let seconds = seconds.ok_or_else(|| Bad::new(400, "seconds: give a number above 0"))?;
            ((seconds * f64::from(source.sample_rate())).round() as i64).max(1)
        }
    };
    if span.is_empty() {
        return Err(Bad::new(404, "the history is empty; try again when the microphones send"));
    }
    Ok((span.end + -frames.min(span.end - span.start), span.end))
}

fn attachment(
    status: u16,
    content_type: &str,
    extension: &str,
    content: Content,
    context: &mut Context<'_>,
) -> Response {
    let wall = context.clocks.wall;
    let time = context.source().local_time(wall).0;
    let digits: String = time.iter().map(|&b| char::from(b)).filter(char::is_ascii_digit).collect();
    let (day, hour) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let disposition = format!("attachment; filename=\"micring-{day}-{hour}.{extension}\"");
    Response::new(status, content_type, content)
        .field("Cache-Control", "no-store")
        .field("Content-Disposition", &disposition)
}

fn page(asset: &Asset, request: &Request, config: &HttpConfig) -> Response {
    let response = if request.if_none_match.as_deref().is_some_and(|tags| asset.matches(tags)) {
        Response::new(304, "", Content::Nothing)
    } else {
        Response::new(200, asset.content_type, Content::Whole(asset.body.clone()))
            .field("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            .field("Referrer-Policy", "no-referrer")
    };
    // With a token, the files name each other with it.
    let cache = if config.token.is_some() { "no-store" } else { "no-cache" };
    response.field("ETag", &asset.etag).field("Cache-Control", cache)
}
