//! The options of RTP out.

use std::net::SocketAddr;

use clap::Args;

use crate::out::rtp::{Encoding, RtpSpec};

#[derive(Args, Clone, Debug)]
pub struct RtpArgs {
    /// Send the aligned stream there as RTP, all channels: an address, or a multicast group (239.1.2.3:5004). Receivers get its description
    /// at /api/stream.sdp. With a configuration file: `rtp_out` of an array.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "config")]
    pub rtp_out: Option<SocketAddr>,
    /// Routers that a multicast may pass: 1 stays in this network.
    #[arg(long, value_name = "HOPS", default_value_t = TTL, value_parser = clap::value_parser!(u32).range(0..=255), requires = "rtp_out")]
    pub rtp_ttl: u32,
    /// Samples of 24 bits or of 16 (RFC 3190, RFC 3551).
    #[arg(long, value_name = "L24|L16", default_value = "L24", value_parser = Encoding::parse, requires = "rtp_out")]
    pub rtp_format: Encoding,
}

/// A multicast stays in its network unless it is told otherwise (RFC 1112, 6.1).
pub const TTL: u32 = 1;

impl RtpArgs {
    pub fn spec(&self) -> Option<RtpSpec> {
        self.rtp_out.map(|to| RtpSpec { to, ttl: self.rtp_ttl, encoding: self.rtp_format })
    }
}
