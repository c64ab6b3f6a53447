//! One boot for both ways to open a volume and both ways to fill it, in turns on the same disks.

use anyhow::{Context as _, Result, ensure};
use ccnode_bootstrap::fill;
use ccnode_bootstrap::unlock::{self, Rules};
use ccnode_evidence::{Secret, Sha256Digest};
use ccnode_luks_volume::{Name, UnlockKey};
use ccnode_protocol::grants::{OnForeignDisk, VolumeAction, VolumeGrant};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{KEY, KEY_DISK, peer, say, succeed};

/// What the node's own code formats, opens and fills.
const OURS: &str = "/dev/vdc";
/// The root source of an image.
const SOURCE: &str = "/dev/vdd";
/// Turns of opening; the first of each is not counted, for it finds caches cold that the other's has warmed.
const OPENED: usize = 6;
/// Turns of filling.
const FILLED: usize = 3;

/// Says `bench: KEY=VALUE` for each figure.
pub(crate) fn measure(cmdline: &str) -> Result<()> {
    let hash = cmdline.split_whitespace().find_map(|word| word.strip_prefix("roothash="));
    let hash = hash.context("no roothash=")?.parse()?;
    let ours = Ours::format()?;
    let (mut peers, mut own) = (Vec::new(), Vec::new());
    for _ in 0..OPENED {
        peers.push(cryptsetup()?);
        own.push(ours.timed()?);
    }
    say(&format!("bench: open_cryptsetup_ms={:.2}", median(peers.split_off(1))));
    say(&format!("bench: open_ours_ms={:.2}", median(own.split_off(1))));

    let source = unlock::open_source(Path::new(SOURCE), &hash, &name("source")?)?;
    let opened = ours.open(&name("filled")?)?;
    let (from, to, len) = (source.path(), opened.path(), source.len());
    let (mut dd, mut own) = (Vec::new(), Vec::new());
    for _ in 0..FILLED {
        let since = Instant::now();
        let [input, output] = [format!("if={}", from.display()), format!("of={}", to.display())];
        let how = ["bs=1M", "iflag=direct", "oflag=direct", "conv=fsync", "status=none"];
        succeed(Command::new("/usr/bin/dd").args([input, output]).args(how))?;
        dd.push(since.elapsed());
        let since = Instant::now();
        fill::copy(&from, Path::new(SOURCE), &to, len, |_| ())?;
        own.push(since.elapsed());
    }
    let rate = |times: Vec<Duration>| len as f64 * 1000.0 / median(times) / f64::from(1 << 20);
    say(&format!("bench: fill_dd_mib_s={:.2}", rate(dd)));
    say(&format!("bench: fill_ours_mib_s={:.2}", rate(own)));
    say(&format!("bench: fill_mib={}", len >> 20));
    Ok(())
}

/// From the start of the command to its end: who waits for it waits so long.
fn cryptsetup() -> Result<Duration> {
    let since = Instant::now();
    let done = peer("/usr/sbin/cryptsetup").args(["open", "--key-file", KEY, KEY_DISK, "x"]).status()?;
    let took = since.elapsed();
    ensure!(done.success(), "cryptsetup: {done}");
    succeed(Command::new("/usr/sbin/cryptsetup").args(["close", "x"]))?;
    Ok(took)
}

/// A volume as a node makes it.
struct Ours {
    digest: Sha256Digest,
    key: UnlockKey,
}

impl Ours {
    fn format() -> Result<Self> {
        let key = UnlockKey::new([7; 32]);
        let grant = VolumeGrant {
            id: "bench/root".to_owned(),
            uuid: "28632274-8c8a-493f-835b-da802e1c576b".to_owned(),
            generation: 1,
            unlock_key: Secret::new(*key),
            action: VolumeAction::Open {
                header_digest: Sha256Digest::ZERO,
                populated_from: Sha256Digest::ZERO,
                rotation: None,
            },
        };
        let path = Path::new(OURS);
        let disk = unlock::open_partition(path, true)?;
        let may = unlock::may_format(&disk, u64::MAX, 0, &grant, OnForeignDisk::Wipe)?;
        let begun = unlock::begin_format(&disk, may)?;
        let sources = unlock::sources(&Secret::new([1; 32]), &[2; 32])?;
        let made = unlock::write_format((&disk, path), &begun, &key, &sources, Rules::default())?;
        Ok(Self { digest: Sha256Digest(made.header.digest().0), key })
    }

    /// As at each later boot: the header is read, judged, found to be on record, and the volume opened from it.
    fn open(&self, name: &Name) -> Result<ccnode_luks_volume::Opened> {
        let disk = unlock::open_partition(Path::new(OURS), false)?;
        let header = unlock::read_header(&disk, &[self.digest], Rules::default())?.into_header();
        Ok(unlock::open_volume(&header, Path::new(OURS), &self.key, name)?)
    }

    fn timed(&self) -> Result<Duration> {
        let name = name("ours")?;
        let since = Instant::now();
        let opened = self.open(&name)?;
        let took = since.elapsed();
        opened.close()?;
        Ok(took)
    }
}

fn name(text: &str) -> Result<Name> {
    text.parse().with_context(|| format!("a device called {text}"))
}

/// Milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
