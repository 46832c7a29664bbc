//! The microphones' sockets: bound, stamped by the kernel, with room for seconds of audio.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

/// A microphone's UDP socket.
pub struct StampedSocket {
    fd: OwnedFd,
    address: SocketAddr,
    /// Bytes that the kernel granted for SO_RCVBUF, its overhead included (socket(7): twice what was asked).
    pub receive_buffer: usize,
}

impl StampedSocket {
    /// Binds `address` (port 0: the kernel chooses) with SO_TIMESTAMPNS and SO_RXQ_OVFL. `[::]` is dual stack; a multicast group
    /// takes what is sent to the group and nothing else, once it is [joined](StampedSocket::join).
    ///
    /// # Errors
    /// What the kernel said to socket, setsockopt or bind.
    pub fn bind(address: SocketAddr, receive_buffer: usize) -> io::Result<StampedSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        if address.ip().is_multicast() {
            // Others on this host may listen to the group as well: each has a copy. What only they joined is not ours.
            socket.set_reuse_address(true)?;
            match address {
                SocketAddr::V4(_) => socket.set_multicast_all_v4(false)?,
                SocketAddr::V6(_) => socket.set_multicast_all_v6(false)?,
            }
        }
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it the kernel silently grants the maximum.
        if set_int(socket.as_raw_fd(), libc::SO_RCVBUFFORCE, receive_buffer as i32).is_err() {
            socket.set_recv_buffer_size(receive_buffer)?;
        }
        set_int(socket.as_raw_fd(), libc::SO_TIMESTAMPNS, 1)?;
        set_int(socket.as_raw_fd(), libc::SO_RXQ_OVFL, 1)?;
        socket.bind(&address.into())?;
        // Whoever takes the process over shall not send from here. The kernel notes it though the socket is not connected, and says so
        // (ENOTCONN; net/ipv4/af_inet.c, `inet_shutdown`); receiving goes on.
        let _ = socket.shutdown(Shutdown::Write);
        let receive_buffer = socket.recv_buffer_size()?;
        let address = socket.local_addr()?.as_socket().expect("an IP socket has an IP address");
        Ok(StampedSocket { fd: socket.into(), address, receive_buffer })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Joins the group that the socket is bound to: on an interface, by its index, or on the one that the route to the group names.
    ///
    /// # Errors
    /// ENODEV where no route leads to the group, or where there is no such interface.
    pub fn join(&self, interface: Option<u32>) -> io::Result<()> {
        let (socket, index) = (SockRef::from(&self.fd), interface.unwrap_or(0));
        match self.address.ip() {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
        }
    }

    /// Datagrams that the kernel dropped at this socket since it was made, modulo 2^32: known at any time, also when no
    /// packet comes that could carry SO_RXQ_OVFL (SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h).
    pub fn drops(&self) -> io::Result<u32> {
        const SK_MEMINFO_DROPS: usize = 8;
        let mut info = [0_u32; 16];
        let mut len = size_of::<[u32; 16]>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `info` and the number written into `len`; both are ours for
        // the whole call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if (len as usize) < (SK_MEMINFO_DROPS + 1) * size_of::<u32>() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "SO_MEMINFO has no drop counter on this kernel"));
        }
        Ok(info[SK_MEMINFO_DROPS])
    }
}

/// A socket that sends to one address. What ICMP says of that address, the next send tells.
pub struct OutSocket(OwnedFd);

/// Bytes that wait in the kernel: a tenth of a second of 64 channels.
const SEND_BUFFER: usize = 1 << 20;

impl OutSocket {
    /// `ttl`: hops, where the address is a multicast group.
    ///
    /// # Errors
    /// What the kernel said: ENETUNREACH where no route leads there.
    pub fn connect(to: SocketAddr, ttl: u32) -> io::Result<OutSocket> {
        let kind = Type::DGRAM.cloexec().nonblocking();
        let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP))?;
        if to.ip().is_multicast() {
            match to {
                SocketAddr::V4(_) => socket.set_multicast_ttl_v4(ttl)?,
                SocketAddr::V6(_) => socket.set_multicast_hops_v6(ttl)?,
            }
        }
        socket.set_send_buffer_size(SEND_BUFFER)?;
        // Nothing is expected here, and nobody reads it.
        socket.set_recv_buffer_size(0)?;
        socket.connect(&to.into())?;
        Ok(OutSocket(socket.into()))
    }
}

impl OutSocket {
    /// Forgets what ICMP said of packets that were sent before, so that the next send is not refused for them.
    pub fn forget_error(&self) {
        // What it says was told by a send already, or concerns a packet of before a rest.
        let _ = SockRef::from(&self.0).take_error();
    }
}

impl AsFd for OutSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for OutSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The index of an interface, by its name.
///
/// # Errors
/// There is none of that name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

impl AsRawFd for StampedSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for StampedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_int(fd: RawFd, option: libc::c_int, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads four bytes at `value`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_microphones_socket_receives_and_cannot_send() {
        for bind in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let stamped = StampedSocket::bind(bind.parse().expect("an address"), 1 << 16).expect("it binds");
            let socket = UdpSocket::from(stamped.fd.try_clone().expect("a descriptor"));
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            let ip = if bind.starts_with('[') { "::1" } else { "127.0.0.1" };
            let peer = UdpSocket::bind((ip, 0)).expect("it binds");
            let to = peer.local_addr().expect("an address");
            let error = socket.send_to(b"out", to).expect_err("it cannot send");
            assert_eq!(error.raw_os_error(), Some(libc::EPIPE), "{bind}: {error}");
            peer.send_to(b"in", (ip, stamped.address().port())).expect("it is sent");
            let mut bytes = [0; 8];
            assert_eq!(socket.recv(&mut bytes).expect("it is received"), 2, "{bind}");
        }
    }
}
