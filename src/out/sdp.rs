//! What a receiver needs to be told about the RTP stream (RFC 8866), as a file that ffmpeg, GStreamer and PipeWire read.

use std::net::SocketAddr;

use super::rtp::{Encoding, PAYLOAD_TYPE};

/// One audio stream.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// The array's name; what is no printable ASCII in it is left out.
    pub name: &'a str,
    /// Names the run: another one has another stream.
    pub id: u64,
    /// Where the packets go.
    pub to: SocketAddr,
    /// Hops of a multicast, IPv4 only (RFC 8866, 5.7).
    pub ttl: u32,
    pub encoding: Encoding,
    pub rate: u32,
    pub channels: usize,
    pub frames_a_packet: usize,
}

impl Session<'_> {
    pub fn text(&self) -> String {
        let name: String = self.name.chars().filter(|c| c.is_ascii_graphic()).collect();
        let ip = self.to.ip();
        let (version, origin) = if ip.is_ipv4() { ("IP4", "0.0.0.0") } else { ("IP6", "::") };
        let ttl = if ip.is_multicast() && ip.is_ipv4() { format!("/{}", self.ttl) } else { String::new() };
        let Session { id, rate, channels, .. } = self;
        let encoding = self.encoding.name();
        let port = self.to.port();
        let ptime_ms = self.frames_a_packet as f64 * 1e3 / f64::from(*rate);
        format!(
            "v=0\r\no=- {id} {id} IN {version} {origin}\r\ns=micring {name}\r\nc=IN {version} {ip}{ttl}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} {encoding}/{rate}/{channels}\r\n\
             a=ptime:{ptime_ms:.3}\r\na=sendonly\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multicast_group_has_its_hops_and_an_address_has_none() {
        let session = |to: &str| Session {
            name: "room\r\n1",
            id: 7,
            to: to.parse().expect("an address"),
            ttl: 4,
            encoding: Encoding::L24,
            rate: 48_000,
            channels: 3,
            frames_a_packet: 120,
        };
        let text = session("239.1.2.3:5004").text();
        assert!(text.contains("\r\ns=micring room1\r\nc=IN IP4 239.1.2.3/4\r\n"), "{text}");
        assert!(text.contains("m=audio 5004 RTP/AVP 96\r\na=rtpmap:96 L24/48000/3\r\na=ptime:2.500\r\n"), "{text}");
        assert!(session("127.0.0.1:5004").text().contains("c=IN IP4 127.0.0.1\r\n"));
        assert!(session("[ff15::1]:5004").text().contains("c=IN IP6 ff15::1\r\n"));
    }
}
