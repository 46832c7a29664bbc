//! The HTTP listener; accepted sockets inherit its options (measured: nodelay, keep-alive, send buffer).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Asked for each connection; the kernel doubles it. Some 30 events, a third of a second: enough for any path that keeps up,
/// and 2048 clients that read nothing hold 1 GB at most, where the kernel's own tuning gives each of them up to 4 MB.
const SEND_BUFFER: usize = 256 << 10;

/// Binds and listens. A peer that vanished without a word is given up after about a minute.
///
/// # Errors
/// What the kernel said to socket, setsockopt, bind or listen.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    let probes =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// The address of the other end; an error when it has already gone.
pub fn peer(stream: &OwnedFd) -> io::Result<SocketAddr> {
    let address = socket2::SockRef::from(stream).peer_addr()?;
    Ok(address.as_socket().expect("a TCP socket has an IP address"))
}

/// Closing it will reset the connection (RST) and throw away what is queued (socket(7), SO_LINGER of no time).
pub fn reset_on_close(stream: &OwnedFd) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Ends our side of the connection (FIN); what is queued is still sent.
pub fn shutdown_write(stream: &OwnedFd) -> io::Result<()> {
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)
}
