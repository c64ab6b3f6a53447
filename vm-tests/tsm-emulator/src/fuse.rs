//! The emulator as a file system: what a guest sees at /sys/kernel/config/tsm/report.

use crate::Emulator;
use crate::state::{ATTRIBUTES, errno};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::libc;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing is kept: an entry's files change with every write.
const TTL: Duration = Duration::ZERO;
/// Inodes of an entry: its folder, then its attributes.
const STRIDE: u64 = 32;

/// Mounts the emulator on `folder` and serves it on a thread of its own, until what is returned is dropped.
///
/// # Errors
/// When FUSE is not there, or this process may not mount.
pub fn mount(emulator: Emulator, folder: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("tsm-emulator".into()), MountOption::NoExec];
    fuser::spawn_mount(Tsm { emulator, handles: Mutex::default() }, folder, &config)
}

struct Tsm {
    emulator: Emulator,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    last: u64,
    open: HashMap<u64, Handle>,
}

/// An open file: what is read stays what it was at the first read, what is written counts when the file is closed.
#[derive(Default)]
struct Handle {
    content: Option<Vec<u8>>,
    written: Option<Vec<u8>>,
}

/// What an inode stands for.
enum Node {
    Root,
    Entry,
    Attribute(String, &'static str, bool, bool),
}

impl Tsm {
    fn node(&self, ino: INodeNo) -> io::Result<Node> {
        let ino = u64::from(ino);
        if ino == u64::from(INodeNo::ROOT) {
            return Ok(Node::Root);
        }
        let entry = self.emulator.name(ino / STRIDE).ok_or_else(|| errno(libc::ENOENT))?;
        let Some(index) = (ino % STRIDE).checked_sub(1) else { return Ok(Node::Entry) };
        let attribute = usize::try_from(index).ok().and_then(|index| ATTRIBUTES.get(index));
        let (name, read, write) = *attribute.ok_or_else(|| errno(libc::ENOENT))?;
        Ok(Node::Attribute(entry, name, read, write))
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<INodeNo> {
        let name = name.to_str().ok_or_else(|| errno(libc::ENOENT))?;
        let missing = || errno(libc::ENOENT);
        match self.node(parent)? {
            Node::Root => Ok(INodeNo(self.emulator.number(name).ok_or_else(missing)? * STRIDE)),
            Node::Entry => {
                let known = self.emulator.attributes().contains(&name);
                let index = ATTRIBUTES.iter().position(|(other, ..)| *other == name).filter(|_| known);
                Ok(INodeNo(u64::from(parent) + 1 + index.ok_or_else(missing)? as u64))
            }
            Node::Attribute(..) => Err(errno(libc::ENOTDIR)),
        }
    }

    fn attr(&self, ino: INodeNo) -> io::Result<FileAttr> {
        let (kind, perm, nlink) = match self.node(ino)? {
            Node::Root | Node::Entry => (FileType::Directory, 0o755, 2),
            Node::Attribute(_, _, read, write) => {
                (FileType::RegularFile, if read { 0o444 } else { 0 } | if write { 0o200 } else { 0 }, 1)
            }
        };
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let now = UNIX_EPOCH;
        Ok(FileAttr {
            ino,
            size: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// What `fh` reads: taken once, so that one open file shows one report.
    fn content(&self, ino: INodeNo, fh: FileHandle) -> io::Result<Vec<u8>> {
        let Node::Attribute(entry, name, true, _) = self.node(ino)? else { return Err(errno(libc::EACCES)) };
        let mut handles = self.handles();
        let handle = handles.open.get_mut(&u64::from(fh)).ok_or_else(|| errno(libc::EBADF))?;
        match &handle.content {
            Some(content) => Ok(content.clone()),
            None => Ok(handle.content.insert(self.emulator.read(&entry, name)?).clone()),
        }
    }

    fn append(&self, ino: INodeNo, fh: FileHandle, offset: u64, data: &[u8]) -> io::Result<u32> {
        let Node::Attribute(_, name, _, true) = self.node(ino)? else { return Err(errno(libc::EACCES)) };
        let mut handles = self.handles();
        let handle = handles.open.get_mut(&u64::from(fh)).ok_or_else(|| errno(libc::EBADF))?;
        let written = handle.written.get_or_insert_default();
        if offset != written.len() as u64 {
            return Err(errno(libc::EINVAL));
        }
        if name == "inblob" && written.len() + data.len() > 64 {
            return Err(errno(libc::EFBIG));
        }
        written.extend_from_slice(data);
        u32::try_from(data.len()).map_err(|_| errno(libc::EFBIG))
    }

    fn commit(&self, ino: INodeNo, fh: FileHandle) -> io::Result<()> {
        let written = self.handles().open.get_mut(&u64::from(fh)).and_then(|handle| handle.written.take());
        match (written, self.node(ino)?) {
            (Some(bytes), Node::Attribute(entry, name, ..)) => self.emulator.write(&entry, name, &bytes),
            _ => Ok(()),
        }
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for Tsm {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name).and_then(|ino| self.attr(ino)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(e) => reply.error(e.into()),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(e) => reply.error(e.into()),
        }
    }

    /// Truncating an attribute means nothing.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(e) => reply.error(e.into()),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = match name.to_str() {
            Some(name) if parent == INodeNo::ROOT => self.emulator.mkdir(name),
            _ => Err(errno(libc::EPERM)),
        };
        match made.and_then(|number| self.attr(INodeNo(number * STRIDE))) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(e) => reply.error(e.into()),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = match name.to_str() {
            Some(name) if parent == INodeNo::ROOT => self.emulator.rmdir(name),
            _ => Err(errno(libc::EPERM)),
        };
        done(removed, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut handles = self.handles();
        handles.last += 1;
        let last = handles.last;
        handles.open.insert(last, Handle::default());
        reply.opened(FileHandle(last), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(ino, fh) {
            Ok(content) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..));
                let rest = rest.unwrap_or_default();
                reply.data(rest.get(..size as usize).unwrap_or(rest));
            }
            Err(e) => reply.error(e.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // Text counts at once, as in the kernel; what is binary counts when the file is closed.
        let appended = self.append(ino, fh, offset, data).and_then(|len| {
            let binary = matches!(self.node(ino)?, Node::Attribute(_, "inblob", ..));
            if binary { Ok(len) } else { self.commit(ino, fh).map(|()| len) }
        });
        match appended {
            Ok(len) => reply.written(len),
            Err(e) => reply.error(e.into()),
        }
    }

    /// The kernel's own file system does this at the last close; here that would come too late for who closed the file.
    fn flush(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        done(self.commit(ino, fh), reply);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.handles().open.remove(&u64::from(fh));
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let (names, kind): (Vec<String>, _) = match self.node(ino) {
            Ok(Node::Root) => (self.emulator.entries(), FileType::Directory),
            Ok(Node::Entry) => {
                let names = self.emulator.attributes().into_iter().map(str::to_owned);
                (names.collect(), FileType::RegularFile)
            }
            Ok(Node::Attribute(..)) => return reply.error(Errno::ENOTDIR),
            Err(e) => return reply.error(e.into()),
        };
        for (name, next) in names.iter().zip(1_u64..).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let Ok(child) = self.child(ino, OsStr::new(name)) else { continue };
            if reply.add(child, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn done(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e.into()),
    }
}
