//! Provided buffers: memory that the kernel picks from when a datagram or a request arrives, so that an armed receive
//! pins no memory and needs no system call.
//!
//! The ring of entries is shared with the kernel (io_uring_register_buf_ring(3)): we write entries and then the tail,
//! the kernel reads the tail and then entries. A [`Lease`] is a filled buffer that is ours until [`BufferPool::recycle`];
//! it is neither `Copy` nor `Clone`, so a buffer cannot be given back twice, and it knows its pool, so that it cannot be given back to
//! another.

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// A filled buffer, ours until it is recycled.
#[derive(Debug)]
pub struct Lease {
    group: u16,
    id: u16,
    len: u32,
}

/// Anonymous, page-aligned, zeroed memory; untouched pages cost nothing.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { base: NonNull::new(base.cast()).expect("mmap succeeded, so not at null"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping made in `new`, and no slice of it is alive: those borrow the pool.
        // The kernel neither reads nor writes here any more. Not because the ring has been closed before (closing is
        // asynchronous), but because it fills buffers only inside an enter of the ring's own thread, which is here instead,
        // and after the closing cancels what is left without carrying it out: see `Ring`. Of the entries it has the pages
        // pinned for as long as it needs them (io_uring/kbuf.c, `io_register_pbuf_ring`).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A ring of equal buffers that the kernel fills.
pub struct BufferPool {
    entries: Mapping,
    memory: Mapping,
    group: u16,
    count: u16,
    stride: usize,
    size: usize,
    /// Our copy of the tail; the kernel's stands in the entries' first `resv` field.
    tail: u16,
    /// Buffers that are out on a lease.
    leased: u16,
}

impl BufferPool {
    /// `count` buffers (a power of two, at most 32768) of `size` bytes, registered as buffer group `group`.
    pub fn register(submitter: &Submitter<'_>, group: u16, count: u16, size: usize) -> io::Result<BufferPool> {
        assert!(count.is_power_of_two(), "a buffer ring has a power of two of entries");
        let stride = size.next_multiple_of(64);
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * stride)?;
        // SAFETY: the address is page-aligned and `count` entries are mapped there. The kernel pins their pages in this call and
        // reads them through its own mapping, whatever becomes of ours; the buffers that they name are looked after in
        // `Mapping::drop`.
        unsafe { submitter.register_buf_ring_with_flags(entries.base.as_ptr() as u64, count, group, 0)? };
        let mut pool = BufferPool { entries, memory, group, count, stride, size, tail: 0, leased: 0 };
        for id in 0..count {
            pool.put(id);
        }
        pool.publish();
        Ok(pool)
    }

    /// A completion says that the kernel has filled `len` bytes of a buffer.
    pub(super) fn lease(&mut self, id: u16, len: u32) -> Lease {
        self.leased += 1;
        Lease { group: self.group, id, len }
    }

    /// Buffers that the kernel can fill.
    pub fn free(&self) -> usize {
        usize::from(self.count - self.leased)
    }

    pub fn all_free(&self) -> bool {
        self.leased == 0
    }

    /// The first `lease.len` bytes of a filled buffer.
    pub fn bytes(&self, lease: &Lease) -> &[u8] {
        assert_eq!(lease.group, self.group, "a buffer is read in the pool that it came from");
        assert!(lease.id < self.count && lease.len as usize <= self.size, "the kernel fills buffers that we gave it");
        // SAFETY: inside `memory` by the assertions. The kernel wrote it before the completion that made the
        // lease (the acquire load of the completion queue's tail orders that), and writes it again only after `recycle`,
        // which takes the lease by value and the pool by `&mut`, while this borrow of both is not alive.
        unsafe {
            slice::from_raw_parts(
                self.memory.base.as_ptr().add(usize::from(lease.id) * self.stride),
                lease.len as usize,
            )
        }
    }

    /// Gives a buffer back to the kernel.
    pub fn recycle(&mut self, lease: Lease) {
        assert_eq!(lease.group, self.group, "a buffer goes back to the pool that it came from");
        assert!(lease.id < self.count, "a buffer that we gave to the kernel");
        self.leased -= 1;
        self.put(lease.id);
        self.publish();
    }

    fn put(&mut self, id: u16) {
        let slot = self.tail & (self.count - 1);
        // SAFETY: `slot` lies below `count`, so inside the mapped entries. The kernel does not read this entry until the
        // tail passes it (`publish`), and at most `count` buffers exist, so it is not one it may still read.
        let entry = unsafe { &mut *self.entries.base.as_ptr().cast::<BufRingEntry>().add(usize::from(slot)) };
        entry.set_addr(self.memory.base.as_ptr() as u64 + u64::from(id) * self.stride as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail overlays the first entry's `resv` field (struct io_uring_buf_ring): mapped, 2-aligned, and
        // written by nobody but us. Release: the kernel loads it with acquire (io_uring/kbuf.c) and then sees the entries.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.base.as_ptr().cast());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}
