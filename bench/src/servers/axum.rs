//! axum on tokio, one thread: a task a microphone, a broadcast channel, a body stream a subscriber. The body is the shared
//! bytes themselves, which is kinder than axum's own `Sse`: that one copies every event for every subscriber.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use ::axum::Router;
use ::axum::body::Body;
use ::axum::extract::State;
use ::axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ::axum::response::IntoResponse;
use ::axum::routing::get;
use ::axum::serve::ListenerExt;
use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast::{self, Sender, error::RecvError};

use super::Assembler;
use crate::receivers::{TokioUdp, announce, bind};

async fn events(State(events): State<Sender<Bytes>>) -> impl IntoResponse {
    let first = Some(Bytes::from_static(b"retry: 1000\n\n"));
    let body = stream::unfold((events.subscribe(), first), |(mut events, first)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(first), (events, None)));
        }
        loop {
            match events.recv().await {
                Ok(event) => return Some((Ok(event), (events, None))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], Body::from_stream(body))
}

async fn receive(mic: usize, socket: TokioUdp, assembler: Rc<RefCell<Assembler>>, events: Sender<Bytes>) {
    let mut buffer = vec![0; 8192];
    while let Ok(read) = socket.recv(&mut buffer).await {
        let wanted = events.receiver_count() > 0;
        let mut assembler = assembler.borrow_mut();
        if let Some(event) = assembler.packet(mic, &buffer[..read.len], read.stamp_ns, wanted) {
            // Fails only when the last subscriber has just gone.
            let _ = events.send(event);
        }
        if assembler.stopped[mic] {
            return;
        }
    }
}

pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let sockets = bind()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(&sockets, Some(listener.local_addr()?))?;
        let (sender, _) = broadcast::channel::<Bytes>(64);
        let app = Router::new().route("/api/stream_3ch", get(events)).with_state(sender.clone());
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::task::spawn_local(async move { ::axum::serve(listener, app).await });
        let assembler = Rc::new(RefCell::new(Assembler::default()));
        let tasks: Vec<_> = sockets
            .iter()
            .enumerate()
            .map(|(mic, socket)| {
                let socket = TokioUdp::new(socket)?;
                Ok(tokio::task::spawn_local(receive(mic, socket, assembler.clone(), sender.clone())))
            })
            .collect::<Result<_>>()?;
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}
