//! A file that is written through the ring: one operation at a time, so that blocks stay in order, and none of them on the
//! loop's thread.
//!
//! A disk can take seconds for any of these: a write when its cache is full, creating and unlinking while the file
//! system commits its journal. The ring hands them to a kernel worker (README, "What the kernel does"). The operation, with all that
//! the kernel may read, moves in here when it is submitted and out again with its completion.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

/// What a ring that writes a file may be asked for beside writing.
pub(super) const OPCODES: [u8; 3] = [opcode::OpenAt::CODE, opcode::Close::CODE, opcode::UnlinkAt::CODE];

/// One operation; paths are absolute or relative to the working directory.
#[derive(PartialEq, Eq, Debug)]
pub enum FileOp {
    /// Creates a file that must not exist yet, for its owner alone, and makes it the one that is written.
    Create(CString),
    /// Appends the bytes from `from` on; may complete with fewer.
    Write { bytes: Vec<u8>, from: usize },
    /// Closes the file.
    Close,
    /// Removes a file by its name.
    Unlink(CString),
}

/// The file, and the operation in flight.
#[derive(Default)]
pub(super) struct FileSlot {
    fd: Option<OwnedFd>,
    /// Bytes that the file has for certain. Writes say where they go: one that failed halfway may have moved the file's own
    /// position without saying so (seen with ENOSPC and EFBIG on Linux 6.18), and its bytes are written again.
    written: u64,
    op: Option<FileOp>,
}

impl FileSlot {
    pub fn is_busy(&self) -> bool {
        self.op.is_some()
    }

    /// Takes the operation in and describes it to the kernel. What the entry points to lives in this slot until
    /// [`complete`](FileSlot::complete): the heap memory of a `CString` or `Vec`, which moving the slot does not move.
    pub fn submit(&mut self, op: FileOp) -> squeue::Entry {
        assert!(self.op.is_none(), "one file operation in flight");
        let here = Fd(libc::AT_FDCWD);
        let fd = self.fd.as_ref().map(|fd| Fd(fd.as_raw_fd()));
        match self.op.insert(op) {
            FileOp::Create(path) => {
                assert!(fd.is_none(), "a file is closed before the next is created");
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
                opcode::OpenAt::new(here, path.as_ptr()).flags(flags).mode(0o600).build()
            }
            FileOp::Write { bytes, from } => {
                let rest = &bytes[*from..];
                opcode::Write::new(fd.expect("a file is open"), rest.as_ptr(), rest.len() as u32)
                    .offset(self.written)
                    .build()
            }
            FileOp::Close => opcode::Close::new(fd.expect("a file is open")).build(),
            FileOp::Unlink(path) => opcode::UnlinkAt::new(here, path.as_ptr()).build(),
        }
    }

    /// The kernel is done with the operation: it comes back, with a count or an errno.
    pub fn complete(&mut self, result: i32) -> (FileOp, Result<usize, i32>) {
        let op = self.op.take().expect("a completion follows its operation");
        match op {
            FileOp::Create(_) if result >= 0 => {
                // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
                self.fd = Some(unsafe { OwnedFd::from_raw_fd(result) });
                self.written = 0;
            }
            FileOp::Write { .. } => self.written += result.max(0) as u64,
            // The descriptor is gone whatever close says (close(2), "Dealing with error returns").
            FileOp::Close => {
                if let Some(fd) = self.fd.take() {
                    let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
                }
            }
            _ => {}
        }
        (op, usize::try_from(result).map_err(|_| -result))
    }
}
