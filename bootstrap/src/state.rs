//! A root that stays as the image has it, and a volume beside it for what changes: an empty file system, and the image's /var in it.

use crate::refusal::Coded;
use crate::tree::{self, TreeError};
use ccnode_evidence::Code;
use ccnode_luks_header::template::{PAGE, Template, TemplateError};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The empty file system, in the initramfs.
pub const EMPTY: &str = "/etc/ccnode/empty.ext4";
/// Where the volume is mounted while it is filled.
pub const FILLED: &str = "/state";
/// The folder of the root that is in the volume.
pub const STATE: &str = "var";
/// Larger files are no template of ours.
const MAX: u64 = 4 << 20;
/// Pages to a write.
const AT_ONCE: usize = 256;
/// Where systemd finds an id for a machine whose /etc can't have one; below /var.
const MACHINE_ID: &str = "lib/dbus/machine-id";

/// Why root or state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The image carries no empty file system, or none of this form.
    #[error("{EMPTY}: {0}")]
    Template(#[source] TemplateError),
    /// It can't be read.
    #[error("{EMPTY}: {0}")]
    Unreadable(#[source] io::Error),
    /// The volume can't be written.
    #[error("writing an empty file system: {0}")]
    Write(#[source] io::Error),
    /// Something is not mounted.
    #[error("mounting {what}: {source}")]
    Mount {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system of a volume for data is not mounted.
    #[error("mounting a volume for data: {0}")]
    Volume(#[source] io::Error),
    /// The image's /var is not copied.
    #[error("{0}")]
    Copy(#[from] TreeError),
}

impl Coded for StateError {
    fn code(&self) -> Code {
        match self {
            Self::Template(_) | Self::Unreadable(_) => Code::ConfigMalformed,
            Self::Copy(TreeError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                Code::RootTooSmall
            }
            Self::Write(_) | Self::Copy(TreeError::Io { .. }) => Code::DiskFailed,
            Self::Volume(error) => code_of_mount(error),
            Self::Mount { .. } | Self::Copy(TreeError::Odd(_) | TreeError::TooMuch(_)) => Code::RootUnusable,
        }
    }
}

/// What a volume that can't be mounted comes to. A checksum of its file system that is wrong is damage, whatever the recipe says.
pub(crate) fn code_of_mount(error: &io::Error) -> Code {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBADMSG | Errno::EUCLEAN) => Code::FileSystemDamaged,
        _ => Code::RootUnusable,
    }
}

/// The empty file system that the image carries.
pub fn template(path: &Path) -> Result<Template, StateError> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX).read_to_end(&mut bytes));
    file.map_err(StateError::Unreadable)?;
    Template::decode(&bytes).map_err(StateError::Template)
}

/// Writes the file system to the beginning of `device`, zeros and all: what deciphers there is noise.
pub fn write(template: &Template, device: &Path) -> Result<(), StateError> {
    let mut to = File::options().write(true).open(device).map_err(StateError::Write)?;
    let zero = [0; PAGE];
    let mut buffer = Vec::with_capacity(AT_ONCE * PAGE);
    let pages = template.len() / PAGE as u64;
    for number in 0..pages {
        buffer.extend_from_slice(template.page(number).unwrap_or(&zero));
        if buffer.len() == AT_ONCE * PAGE || number + 1 == pages {
            to.write_all(&buffer).map_err(StateError::Write)?;
            buffer.clear();
        }
    }
    to.sync_all().map_err(StateError::Write)
}

/// Copies the image's `var` into the mounted volume, and gives the machine an id that stays.
pub fn populate(var: &Path, volume: &Path, progress: impl FnMut()) -> Result<u64, StateError> {
    let copied = tree::copy(var, volume, progress)?;
    let id = volume.join(MACHINE_ID);
    let parent = id.parent().unwrap_or(volume);
    let made = fs::create_dir_all(parent).and_then(|()| {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let file = File::options().write(true).create_new(true).mode(0o444).open(&id);
        match file
            .and_then(|mut file| file.write_all(format!("{:032x}\n", u128::from_le_bytes(bytes)).as_bytes()))
        {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            // The image's own stays.
            _ => Ok(()),
        }
    });
    made.map_err(|source| TreeError::Io { path: id, source })?;
    Ok(copied)
}

/// Mounts the verified `device` read-only at `at`, and memory where programs expect to write.
pub fn mount_root(device: &Path, at: &Path) -> Result<(), StateError> {
    let failed = |what| move |source| StateError::Mount { what, source };
    let none: Option<&str> = None;
    fs::create_dir_all(at)
        .and_then(|()| Ok(mount(Some(device), at, Some("ext4"), MsFlags::MS_RDONLY, none)?))
        .map_err(failed("the root source"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &at.join("tmp"), Some("tmpfs"), flags, Some("mode=1777"))
        .map_err(|e| failed("/tmp of the root")(e.into()))
}

/// Mounts the volume for data on `device` at `at`, a folder that is made where it is missing, and that no symbolic link is on the way to:
/// it could lead out of the root.
pub fn mount_data(device: &Path, at: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Mount { what: "a volume for data", source };
    let is = fs::create_dir_all(at).and_then(|()| fs::canonicalize(at)).map_err(failed)?;
    if is != at {
        let text = format!("{} is {}: a symbolic link is on the way", at.display(), is.display());
        return Err(failed(io::Error::other(text)));
    }
    let (none, flags): (Option<&str>, _) = (None, MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    mount(Some(device), at, Some("ext4"), flags, none).map_err(|e| StateError::Volume(e.into()))
}

/// Moves what is mounted at `from` to `to`.
pub fn move_mount(from: &Path, to: &Path) -> Result<(), StateError> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_MOVE, none)
        .map_err(|e| StateError::Mount { what: "the state", source: e.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_an_empty_file_system_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut image = vec![0; (AT_ONCE + 3) * PAGE];
        image[1] = 1;
        *image.last_mut().unwrap() = 2;
        let (carried, device) = (dir.path().join("carried"), dir.path().join("device"));
        fs::write(&carried, Template::of(&image).unwrap().encode()).unwrap();
        fs::write(&device, vec![0xa5; image.len() + PAGE]).unwrap();
        write(&template(&carried).unwrap(), &device).unwrap();
        let written = fs::read(&device).unwrap();
        assert!(written[..image.len()] == image, "zeros are written, too");
        assert!(written[image.len()..].iter().all(|b| *b == 0xa5));
    }

    #[test]
    fn the_machine_has_an_id_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (var, one, two) = (dir.path().join("var"), dir.path().join("one"), dir.path().join("two"));
        for folder in [&var, &one, &two] {
            fs::create_dir(folder).unwrap();
        }
        let id = |volume: &Path| fs::read_to_string(volume.join(MACHINE_ID)).unwrap();
        populate(&var, &one, || ()).unwrap();
        populate(&var, &two, || ()).unwrap();
        assert_eq!(id(&one).trim_end().len(), 32);
        assert_ne!(id(&one), id(&two));
        // One that the image brings is kept.
        let three = dir.path().join("three");
        fs::create_dir(&three).unwrap();
        populate(&one, &three, || ()).unwrap();
        assert_eq!(id(&three), id(&one));
    }

    #[test]
    fn each_failure_has_its_code() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        assert_eq!(template(&file).unwrap_err().code(), Code::ConfigMalformed);
        fs::write(&file, "odd").unwrap();
        assert_eq!(template(&file).unwrap_err().code(), Code::ConfigMalformed);
        let page = Template::of(&[1; PAGE]).unwrap();
        assert_eq!(write(&page, Path::new("/dev/full")).unwrap_err().code(), Code::DiskFailed);
        let full = io::Error::from(ErrorKind::StorageFull);
        let full = StateError::Copy(TreeError::Io { path: file.clone(), source: full });
        assert_eq!(full.code(), Code::RootTooSmall);
        assert_eq!(populate(&file, dir.path(), || ()).unwrap_err().code(), Code::DiskFailed);
        let at = dir.path().join("at");
        assert_eq!(mount_root(&file, &at).unwrap_err().code(), Code::RootUnusable);
        assert_eq!(mount_data(&file, &at).unwrap_err().code(), Code::RootUnusable);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&at, &link).unwrap();
        let error = mount_data(&file, &link.join("data")).unwrap_err();
        assert!(error.to_string().contains("symbolic link") && error.code() == Code::RootUnusable, "{error}");
        assert_eq!(move_mount(&at, &file).unwrap_err().code(), Code::RootUnusable);
        for errno in [Errno::EBADMSG, Errno::EUCLEAN] {
            assert_eq!(StateError::Volume(errno.into()).code(), Code::FileSystemDamaged);
            // No volume's: e2fsck is no help there.
            let source = StateError::Mount { what: "the root source", source: errno.into() };
            assert_eq!(source.code(), Code::RootUnusable);
        }
    }
}
