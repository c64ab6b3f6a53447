//! What a new volume is filled with, by the measured layout: a copy of the root source, or an empty file system with the image's /var.

use super::unlock::{Holds, Root, name};
use super::{Boot, blocking};
use crate::console::Step;
use crate::handover::SYSROOT;
use crate::refusal::Refusal;
use crate::state::{self, EMPTY, FILLED, STATE};
use crate::{fill, unlock};
use ccnode_evidence::{Code, Layout};
use ccnode_luks_header::template::Template;
use ccnode_luks_header::{Expected, Integrity};
use ccnode_luks_volume::verity::OpenedVerity;
use ccnode_luks_volume::{Opened, UnlockKey, close};
use std::path::Path;
use std::time::Instant;

/// What a new volume is filled with.
pub(super) enum Content {
    /// The root source, whole.
    Root(OpenedVerity),
    /// An empty file system, and in it what the image has below /var.
    State(Template),
    /// An empty file system.
    Empty(Template),
}

impl Content {
    /// Bytes that the volume must have at least.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Root(source) => source.len(),
            Self::State(template) | Self::Empty(template) => template.len(),
        }
    }

    /// From where on nobody writes all of a new volume.
    pub(super) fn wiped_from(&self) -> u64 {
        match self {
            Self::Root(source) => source.len(),
            Self::State(_) | Self::Empty(_) => 0,
        }
    }
}

impl Boot {
    async fn source(&self, root: &Root) -> Result<OpenedVerity, Refusal> {
        let (path, hash, mapped) = (root.partitions.source()?.to_owned(), root.hash, name("root-source")?);
        Ok(blocking(move || unlock::open_source(&path, &hash, &mapped)).await??)
    }

    /// The root source itself becomes the root: verified at each read, and never written.
    pub(super) async fn verified_root(&mut self, root: &Root) -> Result<(), Refusal> {
        if !matches!(root.holds, Holds::Root(Layout::VerityRoot)) {
            return Ok(());
        }
        let device = self.source(root).await?.path();
        blocking(move || state::mount_root(&device, Path::new(SYSROOT))).await??;
        self.console.note(Step::Unlock, "the root is the root source, read-only under dm-verity");
        Ok(())
    }

    /// Opens or reads what a new volume is to be filled with.
    pub(super) async fn content(&self, root: &Root) -> Result<Content, Refusal> {
        let make = match root.holds {
            Holds::Root(Layout::LuksRoot | Layout::Ephemeral) => {
                return self.source(root).await.map(Content::Root);
            }
            Holds::Root(Layout::VerityRoot) => Content::State,
            Holds::Data(_) => Content::Empty,
        };
        Ok(make(blocking(|| state::template(Path::new(EMPTY))).await??))
    }

    /// Fills the volume, grows its file system, and leaves it mounted where it belongs.
    pub(super) async fn fill(
        &mut self,
        root: &Root,
        content: Content,
        opened: &Opened,
    ) -> Result<(), Refusal> {
        let since = Instant::now();
        let whole = opened.len();
        let words = match content {
            Content::Root(source) => {
                self.copy_root(root, &source, opened).await?;
                // Growing tells of no progress, and takes its time on a large disk.
                self.watchdog.progress();
                self.mount(root, opened).await?;
                blocking(move || fill::grow(Path::new(SYSROOT), whole)).await??;
                format!("{} MiB copied", source.len() >> 20)
            }
            Content::Empty(template) => {
                let (device, at) = (opened.path(), root.at().to_owned());
                blocking(move || state::write(&template, &device)).await??;
                self.mount(root, opened).await?;
                blocking(move || fill::grow(&at, whole)).await??;
                "empty".to_owned()
            }
            Content::State(template) => {
                let (device, to) = (opened.path(), root.at().to_owned());
                blocking(move || state::write(&template, &device)).await??;
                let device = opened.path();
                // Before it is filled: it may be too small as it was carried.
                let grown = blocking(move || {
                    fill::mount_root(&device, Path::new(FILLED))?;
                    fill::grow(Path::new(FILLED), whole)
                });
                grown.await??;
                let watchdog = self.watchdog.clone();
                let copied = blocking(move || {
                    let var = Path::new(SYSROOT).join(STATE);
                    let copied = state::populate(&var, Path::new(FILLED), || watchdog.progress())?;
                    state::move_mount(Path::new(FILLED), &to)?;
                    Ok::<_, state::StateError>((copied, to))
                });
                let (copied, to) = copied.await??;
                // What is on the disk now can be called ready.
                blocking(move || fill::flush(&to)).await??;
                format!("{copied} entries of /{STATE} copied")
            }
        };
        self.done(Step::Fill, since, &format!("{words}, grown to {} MiB", whole >> 20));
        Ok(())
    }

    /// Gives every sector of a new volume with tags one of its own, but where the content is written whole.
    pub(super) async fn wipe(
        &mut self,
        root: &Root,
        header: &Expected,
        unlock_key: &UnlockKey,
        content: &Content,
        resume: bool,
    ) -> Result<(), Refusal> {
        if root.integrity == Integrity::None {
            return Ok(());
        }
        let since = Instant::now();
        self.begin(Step::Wipe, None);
        let (path, name) = (root.partitions.root.clone(), root.name.clone());
        let place = (content.wiped_from(), content.len(), resume);
        let (header, key) = (header.clone(), unlock_key.clone());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let watchdog = self.watchdog.clone();
        let wiping = tokio::task::spawn_blocking(move || {
            unlock::wipe(&header, &path, &key, &name, place, |done, all| {
                watchdog.progress();
                // Nobody listening is no reason to stop.
                let _ = tell.send((done, all));
            })
        });
        while let Some((done, all)) = told.recv().await {
            self.console.note(Step::Wipe, &format!("{} of {} MiB", done >> 20, all >> 20));
        }
        let lost = |_| Refusal::new(Code::NodeInternal, "the wiping was lost");
        let began = wiping.await.map_err(lost)??;
        let what = format!("tags of {}, from MiB {} on", root.integrity, began >> 20);
        self.done(Step::Wipe, since, &what);
        Ok(())
    }

    async fn copy_root(
        &mut self,
        root: &Root,
        source: &OpenedVerity,
        opened: &Opened,
    ) -> Result<(), Refusal> {
        let (from, below, to) = (source.path(), root.partitions.source()?.to_owned(), opened.path());
        let (len, mapped) = (source.len(), source.name().clone());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let watchdog = self.watchdog.clone();
        let copying = tokio::task::spawn_blocking(move || {
            let copied = fill::copy(&from, &below, &to, len, |done| {
                watchdog.progress();
                // Nobody listening is no reason to stop.
                let _ = tell.send(done);
            });
            copied.map(|()| close(&mapped))
        });
        while let Some(done) = told.recv().await {
            self.console.note(Step::Fill, &format!("{} of {} MiB", done >> 20, len >> 20));
        }
        let lost = |_| Refusal::new(Code::NodeInternal, "the copy was lost");
        if let Err(error) = copying.await.map_err(lost)?? {
            self.console.note(Step::Fill, &format!("the root source stays mapped: {error}"));
        }
        Ok(())
    }
}
