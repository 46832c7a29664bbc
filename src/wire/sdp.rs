//! A session description (RFC 8866), as ffmpeg, GStreamer and AES67 devices give out: what an RTP payload type means.

use sdp_types::{Media, RtpMap, Session};

use super::format::{self, Rtp};
use super::rtp;

/// The first audio stream of a description: its port, and the format to declare.
///
/// # Errors
/// Why there is none: the text is no SDP, it has no audio over RTP, or audio that is neither L16 nor L24.
pub fn read(text: &[u8]) -> Result<(u16, Rtp), String> {
    let session = Session::parse(text).map_err(|error| format!("no session description: {error}"))?;
    let audio = |media: &&Media| media.media == "audio" && media.proto.starts_with("RTP/");
    let media = session.medias.iter().find(audio).ok_or("the description has no audio over RTP")?;
    let first = media.fmt.split_ascii_whitespace().next().unwrap_or_default();
    let payload_type: u8 = first.parse().map_err(|_| format!("the payload type '{first}' is no number"))?;
    let declared =
        media.attributes_typed::<RtpMap>().find_map(|map| map.ok().filter(|map| map.payload_type == payload_type));
    let rtp = match declared {
        Some(map) => {
            // RFC 8866 6.6: the parameter is the number of audio channels, and may be left out where it is one.
            let channels = map.encoding_params.as_deref().unwrap_or("1");
            format!("rtp:{}/{}/{channels},pt={payload_type}", map.encoding_name, map.clock_rate)
        }
        None => {
            let known = rtp::known_type(payload_type);
            known.ok_or_else(|| format!("payload type {payload_type} has no rtpmap"))?.to_string()
        }
    };
    match rtp.parse()? {
        format::Format::Rtp(Some(rtp)) => Ok((media.port, rtp)),
        _ => unreachable!("it was written as RTP with a declaration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Coding;

    #[test]
    fn what_ffmpeg_and_aes67_devices_write_is_read() {
        let ffmpeg =
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:libavformat\r\n\
            m=audio 5004 RTP/AVP 97\r\nb=AS:1536\r\na=rtpmap:97 L24/48000/2\r\n";
        let (port, rtp) = read(ffmpeg).expect("L24");
        assert_eq!(
            (port, rtp),
            (5004, Rtp { coding: Coding::S24be, rate: 48_000, channels: 2, payload_type: Some(97) })
        );
        let aes67 =
            b"v=0\no=- 1311738121 1311738121 IN IP4 192.168.1.1\ns=Stage left I/O\nc=IN IP4 239.0.0.1/32\nt=0 0\n\
            m=audio 5004 RTP/AVP 96\na=rtpmap:96 L24/48000/8\na=sendonly\na=ptime:1\n";
        assert_eq!(read(aes67).expect("eight channels").1.channels, 8);
        let mono = b"v=0\no=- 0 0 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 99\na=rtpmap:99 L16/16000\n";
        assert_eq!(read(mono).expect("one channel").1.to_string(), "rtp:L16/16000/1,pt=99");
        let known = b"v=0\no=- 0 0 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 10\n";
        assert_eq!(read(known).expect("a known type").1.to_string(), "rtp:L16/44100/2,pt=10");
    }

    #[test]
    fn what_is_no_such_stream_is_said() {
        let with = |media: &str| {
            let text = format!("v=0\no=- 0 0 IN IP4 0.0.0.0\ns=-\nt=0 0\n{media}");
            read(text.as_bytes()).expect_err(media)
        };
        assert!(with("").contains("no audio"));
        assert!(with("m=video 1 RTP/AVP 96\na=rtpmap:96 H264/90000\n").contains("no audio"));
        assert!(with("m=audio 1 RTP/AVP 96\na=rtpmap:96 opus/48000/2\n").contains("'opus' is not L16 or L24"));
        assert!(with("m=audio 1 RTP/AVP 96\n").contains("has no rtpmap"));
        assert!(read(b"RIFF").is_err());
    }
}
