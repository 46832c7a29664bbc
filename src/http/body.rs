//! What follows a head: a body that is made piece by piece, as the socket drains.

use bytes::Bytes;

use super::House;
use super::csv::CsvDownload;
use super::event::{BINARY_HEARTBEAT, RECORD_HEARTBEAT, SSE_HEARTBEAT};
use super::listing::Listing;
use super::pcm::LivePcm;
use super::stream::{Hubs, Subscription, Topic};
use super::wav::WavDownload;
use super::websocket;
use crate::array::ArrayId;

/// The rest of a response.
#[derive(Debug)]
pub enum Body {
    Whole(Bytes),
    Wav(WavDownload),
    Csv(CsvDownload),
    Events(Subscription),
    LivePcm(LivePcm),
    Listing(Listing),
}

/// What a body has to say next.
#[derive(Debug)]
pub enum Next {
    Piece(Bytes),
    /// A piece of so many whole events.
    Events(Bytes, u64),
    /// Nothing yet.
    Wait,
    End,
    /// The history overwrote the rest: the connection must not end as if this were all.
    Cut,
}

impl Body {
    /// The next of a body that is made of what `array` has.
    pub fn next(&mut self, array: ArrayId, hubs: &mut Hubs, house: &mut dyn House) -> Next {
        if let Body::Whole(bytes) = self {
            return if bytes.is_empty() { Next::End } else { Next::Piece(std::mem::take(bytes)) };
        }
        if let Body::Listing(listing) = self {
            return listing.next(hubs, house).map_or(Next::End, Next::Piece);
        }
        let (hub, source) = (hubs.of(array), &*house.array(array));
        let download = match self {
            Body::Whole(_) | Body::Listing(_) => unreachable!("handled above"),
            Body::Events(subscription) => {
                return hub.next(subscription, source).map_or(Next::Wait, |(bytes, count)| Next::Events(bytes, count));
            }
            Body::LivePcm(live) if live.is_over() => return Next::End,
            Body::LivePcm(live) => {
                let Some((piece, lost)) = live.next(&mut hub.pieces, source) else { return Next::Wait };
                hub.figures.events_dropped += lost;
                return Next::Piece(piece);
            }
            Body::Wav(download) => download.next(source),
            Body::Csv(download) => download.next(source),
        };
        match download {
            Ok(Some(piece)) => Next::Piece(piece),
            Ok(None) => Next::End,
            Err(_) => {
                hub.figures.downloads_aborted += 1;
                Next::Cut
            }
        }
    }

    /// What wakes a body that follows what is live; `None` for one that is there as a whole.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Body::Events(subscription) => Some(subscription.topic),
            Body::LivePcm(_) => Some(Topic::Pcm),
            Body::Whole(_) | Body::Listing(_) | Body::Wav(_) | Body::Csv(_) => None,
        }
    }

    /// What keeps the connection open while nothing happens, where the format has such a thing.
    pub fn heartbeat(&self) -> Option<&'static [u8]> {
        if self.is_websocket() {
            return Some(websocket::HEARTBEAT);
        }
        match self.topic()? {
            Topic::Cycles | Topic::Packets => Some(SSE_HEARTBEAT),
            Topic::BinaryCycles => Some(BINARY_HEARTBEAT),
            Topic::Records => Some(RECORD_HEARTBEAT),
            Topic::Pcm => None,
        }
    }

    /// It goes out as messages, and the client may say something meanwhile.
    pub fn is_websocket(&self) -> bool {
        matches!(self, Body::LivePcm(live) if live.framed)
    }
}
