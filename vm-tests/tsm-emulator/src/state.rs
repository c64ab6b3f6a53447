//! The rules of configfs-tsm: entries, attributes, generations, and when a report is made.

use crate::platform::{Blobs, Platform, Request, Svsm};
use nix::libc;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most that `inblob` takes.
const INBLOB: usize = 64;
/// The highest privilege level.
const PRIVLEVEL: u32 = 3;

/// Somebody else with access to the entries: asked before each read of an attribute, and writes `inblob` where it says so.
pub type Interloper = Box<dyn FnMut(&str) -> bool + Send>;

/// The emulated tree; clones share it.
#[derive(Clone)]
pub struct Emulator(Arc<Mutex<State>>);

struct State {
    platform: Option<Box<dyn Platform>>,
    entries: BTreeMap<String, Entry>,
    /// How many were ever made.
    made: u64,
    interloper: Option<Interloper>,
    /// Errors by attribute, in place of what it would hold.
    errors: BTreeMap<&'static str, i32>,
}

#[derive(Default)]
struct Entry {
    number: u64,
    written: u64,
    read: u64,
    inblob: Vec<u8>,
    privlevel: u32,
    svsm: Svsm,
    blobs: Option<Blobs>,
}

/// An attribute: its name, whether it is read, whether it is written.
pub(crate) const ATTRIBUTES: [(&str, bool, bool); 11] = [
    ("inblob", false, true),
    ("outblob", true, false),
    ("auxblob", true, false),
    ("manifestblob", true, false),
    ("provider", true, false),
    ("generation", true, false),
    ("privlevel", false, true),
    ("privlevel_floor", true, false),
    ("service_provider", false, true),
    ("service_guid", false, true),
    ("service_manifest_version", false, true),
];

impl Emulator {
    /// The tree of a guest on `platform`; `None` is a kernel with `tsm.ko` and no driver.
    pub fn on(platform: Option<Box<dyn Platform>>) -> Self {
        Self(Arc::new(Mutex::new(State {
            platform,
            entries: BTreeMap::new(),
            made: 0,
            interloper: None,
            errors: BTreeMap::new(),
        })))
    }

    /// Lets somebody else in.
    pub fn let_in(&self, interloper: Interloper) {
        self.lock().interloper = Some(interloper);
    }

    /// Has every access to `attribute` fail with `errno`.
    pub fn fail(&self, attribute: &'static str, errno: i32) {
        self.lock().errors.insert(attribute, errno);
    }

    /// The entries that are there now.
    pub fn entries(&self) -> Vec<String> {
        self.lock().entries.keys().cloned().collect()
    }

    /// How many entries were ever made.
    pub fn made(&self) -> u64 {
        self.lock().made
    }

    pub(crate) fn mkdir(&self, name: &str) -> io::Result<u64> {
        let mut state = self.lock();
        if state.platform.is_none() {
            return Err(errno(libc::ENXIO));
        }
        if state.entries.contains_key(name) {
            return Err(errno(libc::EEXIST));
        }
        state.made += 1;
        let number = state.made;
        state.entries.insert(name.to_owned(), Entry { number, ..Entry::default() });
        Ok(number)
    }

    pub(crate) fn rmdir(&self, name: &str) -> io::Result<()> {
        self.lock().entries.remove(name).map(drop).ok_or_else(|| errno(libc::ENOENT))
    }

    /// The number of an entry, from 1.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.lock().entries.get(name).map(|entry| entry.number)
    }

    pub(crate) fn name(&self, number: u64) -> Option<String> {
        let state = self.lock();
        state.entries.iter().find(|(_, entry)| entry.number == number).map(|(name, _)| name.clone())
    }

    /// The attributes that entries have here.
    pub(crate) fn attributes(&self) -> Vec<&'static str> {
        let state = self.lock();
        let Some(platform) = &state.platform else { return Vec::new() };
        let names = ATTRIBUTES.iter().map(|(name, ..)| *name);
        names
            .filter(|name| match *name {
                "auxblob" => platform.has_auxblob(),
                "manifestblob" | "service_provider" | "service_guid" | "service_manifest_version" => {
                    platform.has_svsm()
                }
                "privlevel" | "privlevel_floor" => platform.privlevel_floor().is_some(),
                _ => true,
            })
            .collect()
    }

    pub(crate) fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let State { platform, entries, errors, .. } = &mut *state;
        let (Some(platform), Some(entry)) = (platform, entries.get_mut(entry)) else {
            return Err(errno(libc::ENOENT));
        };
        if let Some(error) = errors.get(attribute) {
            return Err(errno(*error));
        }
        let text = String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        let number = || text.parse::<u32>().map_err(|_| errno(libc::EINVAL));
        match attribute {
            "inblob" if bytes.len() > INBLOB => return Err(errno(libc::EFBIG)),
            "inblob" => entry.inblob = bytes.to_vec(),
            "privlevel" => {
                let floor = platform.privlevel_floor().unwrap_or_default();
                let level = number()?;
                if !(floor..=PRIVLEVEL).contains(&level) {
                    return Err(errno(libc::EINVAL));
                }
                entry.privlevel = level;
            }
            "service_provider" => entry.svsm.provider = text,
            "service_guid" => entry.svsm.guid = text,
            "service_manifest_version" => entry.svsm.version = number()?,
            _ => return Err(errno(libc::EACCES)),
        }
        entry.written = entry.written.wrapping_add(1);
        Ok(())
    }

    pub(crate) fn read(&self, entry: &str, attribute: &str) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let interferes = state.interloper.as_mut().is_some_and(|interloper| interloper(attribute));
        let State { platform, entries, errors, .. } = &mut *state;
        let (Some(platform), Some(entry)) = (platform, entries.get_mut(entry)) else {
            return Err(errno(libc::ENOENT));
        };
        if interferes {
            entry.inblob = vec![0xee; INBLOB];
            entry.written = entry.written.wrapping_add(1);
        }
        if let Some(error) = errors.get(attribute) {
            return Err(errno(*error));
        }
        match attribute {
            "provider" => Ok(format!("{}\n", platform.provider()).into_bytes()),
            "generation" => Ok(format!("{}\n", entry.written).into_bytes()),
            "privlevel_floor" => {
                Ok(format!("{}\n", platform.privlevel_floor().unwrap_or_default()).into_bytes())
            }
            "outblob" => Ok(entry.made(&**platform)?.report.clone()),
            "auxblob" => Ok(entry.made(&**platform)?.auxiliary.clone()),
            "manifestblob" => Ok(entry.made(&**platform)?.manifest.clone()),
            _ => Err(errno(libc::EACCES)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The report of what was written last; it is made anew only where something was written since.
    fn made(&mut self, platform: &dyn Platform) -> io::Result<&Blobs> {
        if self.inblob.is_empty() {
            return Err(errno(libc::EINVAL));
        }
        if self.read != self.written {
            self.blobs = None;
        }
        let blobs = match self.blobs.take() {
            Some(blobs) => blobs,
            None => {
                let svsm = (!self.svsm.provider.is_empty()).then(|| self.svsm.clone());
                platform.report(&Request { data: self.inblob.clone(), privlevel: self.privlevel, svsm })?
            }
        };
        self.read = self.written;
        Ok(self.blobs.insert(blobs))
    }
}

pub(crate) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
