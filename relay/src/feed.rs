//! Live cycles as they come from afar, whole: one subscription an array, shared by all its listeners here.
//!
//! A hole in the ids (the connection was down, or a buffer ran over) is asked for before what is behind it is handed on.
//! A listener who is slower than its queue loses the oldest, and nobody waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use crate::ask;
use crate::event::Event;
use crate::names::{Kind, Place};
use crate::nats::BUFFERED;
use crate::say;
use crate::segment::Position;
use crate::status::Count;

/// Cycles that wait for one listener; micring has the same for its own (`--queue`).
const QUEUE: usize = 64;
/// How often it is looked whether somebody still listens.
const LOOK: Duration = Duration::from_secs(1);

/// Cycles that are handed on together: one as a rule; as many as one answer has where a hole is filled.
pub type Batch = Arc<[Event]>;

/// All arrays that somebody here listens to.
#[derive(Debug)]
pub struct Feeds {
    pub client: Client,
    running: Mutex<HashMap<Place, broadcast::Sender<Batch>>>,
    pub counts: Counts,
}

/// Over all arrays.
#[derive(Debug, Default)]
pub struct Counts {
    /// Cycles that came over NATS.
    pub cycles: Count,
    /// Cycles that were asked for, since they had not come.
    pub filled: Count,
    /// Holes that stayed.
    pub holes: Count,
    /// What listeners lost that were too slow, in batches.
    pub too_slow: Count,
}

impl Feeds {
    pub fn new(client: Client) -> Feeds {
        Feeds { client, running: Mutex::default(), counts: Counts::default() }
    }

    /// Arrays that somebody here listens to, and how many do.
    pub fn listeners(&self) -> Vec<(Place, usize)> {
        let running = self.running.lock().expect("no holder panics");
        running.iter().map(|(place, sender)| (place.clone(), sender.receiver_count())).collect()
    }

    /// The array's cycles from now on.
    pub fn listen(self: &Arc<Feeds>, place: &Place) -> broadcast::Receiver<Batch> {
        let mut running = self.running.lock().expect("no holder panics");
        if let Some(sender) = running.get(place) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(QUEUE);
        running.insert(place.clone(), sender.clone());
        let (feeds, place) = (self.clone(), place.clone());
        tokio::spawn(async move {
            let mut at = None;
            while !feeds.is_over(&place, &sender) {
                if let Err(trouble) = feeds.pass_on(&place, &sender, &mut at).await {
                    say(format_args!("{}/{}: {trouble}", place.host, place.array));
                    sleep(LOOK).await;
                }
            }
        });
        receiver
    }

    /// Whether nobody listens any more; then the next listener begins anew.
    fn is_over(&self, place: &Place, sender: &broadcast::Sender<Batch>) -> bool {
        let mut running = self.running.lock().expect("no holder panics");
        let over = sender.receiver_count() == 0;
        if over {
            running.remove(place);
        }
        over
    }

    /// `at`: the last cycle that was handed on.
    async fn pass_on(
        &self,
        place: &Place,
        sender: &broadcast::Sender<Batch>,
        at: &mut Option<Position>,
    ) -> Result<(), String> {
        let mut live = self.client.subscribe(place.subject(Kind::Pcm)).await.map_err(|e| e.to_string())?;
        // What is no cycle is somebody else's, and passed over.
        let read = |message: Option<async_nats::Message>| {
            let payload = message.ok_or("the subscription ended")?.payload;
            Ok::<_, String>(Event::all(payload).unwrap_or_else(|trouble| {
                say(format_args!("{}/{}: no cycle: {trouble}", place.host, place.array));
                Vec::new()
            }))
        };
        while sender.receiver_count() > 0 {
            let Ok(message) = timeout(LOOK, live.next()).await else { continue };
            let mut events = read(message)?;
            // A burst costs no listener its queue: what is here is handed on together.
            while events.len() < BUFFERED
                && let Some(message) = live.next().now_or_never()
            {
                events.extend(read(message)?);
            }
            self.counts.cycles.add(events.len() as u64);
            let mut batch = Vec::with_capacity(events.len());
            for event in events {
                while let Some(after) = missing_behind(*at, &event) {
                    let before = *at;
                    match ask::cycles_again(&self.client, place, after, Some(event.header.id - 1)).await {
                        Ok(missing) => {
                            self.counts.filled.add(missing.len() as u64);
                            missing.into_iter().for_each(|event| add(&mut batch, at, event));
                        }
                        Err(trouble) => say(format_args!("{}/{}: {trouble}", place.host, place.array)),
                    }
                    hand_on(&mut batch, sender);
                    if *at == before {
                        self.counts.holes.add(1);
                        say(format_args!("{}/{}: a hole behind cycle {after} stays", place.host, place.array));
                        break;
                    }
                }
                add(&mut batch, at, event);
            }
            hand_on(&mut batch, sender);
        }
        Ok(())
    }
}

/// Without listeners it goes nowhere, and the feed ends.
fn hand_on(batch: &mut Vec<Event>, sender: &broadcast::Sender<Batch>) {
    if !batch.is_empty() {
        let _ = sender.send(std::mem::take(batch).into());
    }
}

/// The id behind which cycles are missing before `event`; of a new run, from its first cycle on.
fn missing_behind(at: Option<Position>, event: &Event) -> Option<u64> {
    let (at, header) = (at?, &event.header);
    let before = if at.run == header.run { at.id } else { header.run - 1 };
    (before + 1 < header.id).then_some(before)
}

/// Unless it was.
fn add(batch: &mut Vec<Event>, at: &mut Option<Position>, event: Event) {
    let header = &event.header;
    if at.is_none_or(|at| at.run != header.run || at.id < header.id) {
        *at = Some(Position::behind(&event));
        batch.push(event);
    }
}
