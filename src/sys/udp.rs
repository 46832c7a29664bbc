//! The microphones' sockets: bound, stamped by the kernel, with room for seconds of audio.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
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
