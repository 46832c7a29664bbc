//! A file that is written through the ring: one operation at a time, so that blocks stay in order, and none of them on the
//! loop's thread.
//!
//! A disk can take seconds for any of these: a write when its cache is full, creating and unlinking while the file
//! system commits its journal. The ring hands them to a kernel worker (docs/how.md, "What the kernel does"). The operation, with all that
//! the kernel may read, moves in here when it is submitted and out again with its completion.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

/// What a ring that writes a file may be asked for beside writing.
pub(super) const OPCODES: [u8; 3] = [opcode::OpenAt::CODE, opcode::Close::CODE, opcode::UnlinkAt::CODE];

/// One operation; paths are absolute or relative to the working directory.
#[derive(PartialEq, Eq, Debug)]
pub enum FileOp {
    /// Creates a file that must not exist yet, for its owner alone, and makes it the one that is written.
    Create(CString),
    /// Writes the bytes from `from` on, the first of all at `at` in the file; may complete with fewer. Says where, since a write that failed
    /// halfway may have moved the file's own position without saying so (seen with ENOSPC and EFBIG on Linux 6.18), and its bytes are
    /// written again.
    Write { bytes: Vec<u8>, from: usize, at: u64 },
    /// Closes the file.
    Close,
    /// Removes a file by its name.
    Unlink(CString),
}

/// The file, and the operation in flight.
#[derive(Default)]
pub(super) struct FileSlot {
    fd: Option<OwnedFd>,
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
                // Never through a link: others may write to the folder too.
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
                opcode::OpenAt::new(here, path.as_ptr()).flags(flags).mode(0o600).build()
            }
            FileOp::Write { bytes, from, at } => {
                let rest = &bytes[*from..];
                opcode::Write::new(fd.expect("a file is open"), rest.as_ptr(), rest.len() as u32)
                    .offset(*at + *from as u64)
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
            }
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

/// Whether this process may make files in a folder: asked, not tried, so that nothing is written.
///
/// # Errors
/// Why not.
pub fn may_write(folder: &Path) -> io::Result<()> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the kernel reads a C string that lives through the call.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A folder that several servers may write into: each keeps its lock (flock(2), on the folder itself) shared from before its
/// first file until it ends. So whoever has the lock alone for a moment knows that no file there is being written.
#[derive(Debug)]
pub struct SharedFolder {
    _lock: File,
}

/// How long another server may have the lock alone: it lists the folder meanwhile.
const LISTING: Duration = Duration::from_secs(2);

impl SharedFolder {
    /// Takes the lock. `list` is carried out while it is ours alone, and not at all where another holds it, or where the file
    /// system has no such locks: then nobody knows which files there are still written.
    ///
    /// # Errors
    /// The folder cannot be read or listed, or somebody keeps its lock alone.
    pub fn enter<T>(folder: &Path, list: impl FnOnce() -> io::Result<T>) -> io::Result<(SharedFolder, Option<T>)> {
        let lock = File::open(folder)?;
        let alone = flock(&lock, libc::LOCK_EX).is_ok();
        let listed = alone.then(list).transpose()?;
        for _ in 0..LISTING.as_millis() / 10 {
            match flock(&lock, libc::LOCK_SH) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LISTING / 200),
                // Without locks nobody has it alone either.
                _ => return Ok((SharedFolder { _lock: lock }, listed)),
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "another program keeps the folder locked"))
    }
}

fn flock(file: &File, how: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a descriptor that is open for the whole call, and numbers.
    let result = unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
