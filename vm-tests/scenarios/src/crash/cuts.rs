//! Which power cuts are tried: of a recorded first boot, so many in each of its phases, each with some luck for what was not flushed.

use anyhow::{Context as _, Result, ensure};
use ccnode_luks_header::{DATA_OFFSET, HEADER_LEN, MARK_OFFSET};
use ccnode_vm_harness::write_log::{Entry, SECTOR};
use ccnode_vm_harness::{Partition, WriteLog};
use std::ops::RangeInclusive;

/// What a disk is expected to write whole, bytes: a sector of the volume, and a block of the file system in it.
const FS_BLOCK: u64 = 4096;

/// What was going on when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The journal mark is written and may not be on the disk.
    Mark,
    /// The mark is there, the header on its way.
    Header,
    /// The header is there, the service has been told, or is about to be.
    Formatted,
    /// The copy.
    Fill,
    /// The copy is done; the file system is mounted and grown.
    Grow,
    /// The service has just been told.
    Ready,
    /// The root's init runs.
    After,
}

/// Every phase and how many of the cuts fall into it.
const SHARES: [(Phase, usize); 7] = [
    (Phase::Mark, 4),
    (Phase::Header, 6),
    (Phase::Formatted, 5),
    (Phase::Fill, 9),
    (Phase::Grow, 6),
    (Phase::Ready, 6),
    (Phase::After, 4),
];

impl Phase {
    /// As the table says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mark => "journal mark",
            Self::Header => "header",
            Self::Formatted => "formatted",
            Self::Fill => "fill",
            Self::Grow => "mount and grow",
            Self::Ready => "ready",
            Self::After => "after ready",
        }
    }

    /// In their order, with the number of their cuts.
    #[must_use]
    pub fn all() -> [(Self, usize); 7] {
        SHARES
    }
}

/// One power cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The phase.
    pub phase: Phase,
    /// Entries of the log that were finished.
    pub at: usize,
    /// Writes among them that were not flushed.
    pub open: usize,
    /// The luck of those.
    pub luck: Luck,
}

/// Which blocks of unflushed writes survive: a share of the writes, and of some only a part.
#[derive(Clone, Copy, Debug)]
pub struct Luck {
    seed: u64,
    percent: u8,
}

impl Luck {
    /// Whether this block of that write survives; always the same answer.
    #[must_use]
    pub fn survives(self, write: usize, block: u64) -> bool {
        let mut of_write = fastrand::Rng::with_seed(self.seed ^ (write as u64).wrapping_mul(0x9e37_79b9));
        let kept = of_write.u8(0..100) < self.percent;
        // A quarter of the writes is torn.
        match of_write.u8(0..4) {
            0 => fastrand::Rng::with_seed(of_write.u64(..) ^ block).bool(),
            _ => kept,
        }
    }

    fn random(rng: &mut fastrand::Rng) -> Self {
        let percent = [0, 25, 50, 75, 100];
        Self { seed: rng.u64(..), percent: percent.get(rng.usize(0..percent.len())).copied().unwrap_or(50) }
    }
}

/// Where in the log the steps of a first boot are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The write of the mark.
    pub mark: usize,
    /// The first write into the header.
    pub header: usize,
    /// Entries that were finished when the service was told `formatted`.
    pub formatted: usize,
    /// The first write of the copy.
    pub fill: usize,
    /// The write that completes the copy.
    pub filled: usize,
    /// Entries that were finished when the service was told `ready`.
    pub ready: usize,
    /// Entries.
    pub end: usize,
    /// Where on the disk the data begin, in bytes.
    pub data: u64,
}

impl Steps {
    /// Finds them: the copy covers `source` bytes from the start of the data, and whatever comes later is of the file system.
    ///
    /// # Errors
    /// When a step is missing.
    pub fn find(
        log: &WriteLog,
        root: &Partition,
        source: u64,
        formatted: usize,
        ready: usize,
    ) -> Result<Self> {
        let entries = log.entries();
        let first = |from: u64, len: u64, what: &str| {
            let found = entries.iter().position(|e| e.is_write() && touches(e, root.start + from, len));
            found.with_context(|| format!("the log has no write of the {what}"))
        };
        let mark = first(MARK_OFFSET, DATA_OFFSET - MARK_OFFSET, "mark")?;
        let header = first(0, HEADER_LEN as u64, "header")?;
        let fill = first(DATA_OFFSET, source, "copy")?;
        let start = root.start + DATA_OFFSET;
        let mut left = source;
        let filled = entries.iter().position(|e| {
            if e.is_write() && touches(e, start, source) {
                left = left.saturating_sub(e.len);
            }
            left == 0
        });
        let filled = filled.context("the log ends within the copy")?;
        let steps = Self { mark, header, formatted, fill, filled, ready, end: log.len(), data: start };
        let ordered = mark < header && header < formatted && formatted <= fill && filled < ready;
        ensure!(ordered && ready <= steps.end, "the steps are out of order: {steps:?}");
        Ok(steps)
    }

    /// What must be on the disk before the next step begins; a random cut would have to be lucky to see that it is not.
    ///
    /// # Errors
    /// With the step that did not wait for the disk.
    pub fn flushed_in_order(&self, log: &WriteLog) -> Result<()> {
        let safe = |mut writes: std::ops::Range<usize>, by: usize| {
            writes.all(|n| log.is_safe(n, by) || !log.entries().get(n).is_some_and(Entry::is_write))
        };
        ensure!(
            safe(self.mark..self.header, self.header),
            "the header was begun before the mark was flushed"
        );
        let told = self.formatted;
        ensure!(
            safe(self.header..told, told),
            "the service was told `formatted` before the header was flushed"
        );
        let mount = log.entries().iter().skip(self.filled + 1).position(Entry::is_write);
        let mount = mount.map_or(self.ready, |n| self.filled + 1 + n);
        ensure!(safe(self.fill..mount, mount), "the file system was used before the copy was flushed");
        Ok(())
    }

    /// The block of the disk that the byte at `place` is written with, whole or not at all, where the power is cut after `at` entries.
    ///
    /// Mark and header stand a tear at every sector, and so does a root that is made anew. A file system that stays does not: the 1024
    /// bytes of ext4's superblock have one checksum, and are written in place.
    #[must_use]
    pub fn block(&self, place: u64, at: usize) -> u64 {
        place / if place < self.data || at < self.ready { SECTOR } else { FS_BLOCK }
    }

    /// The counts of finished entries that are cuts in `phase`.
    fn range(&self, phase: Phase) -> RangeInclusive<usize> {
        match phase {
            Phase::Mark => self.mark + 1..=self.header,
            Phase::Header => self.header + 1..=self.formatted.saturating_sub(1).max(self.header + 1),
            Phase::Formatted => self.formatted..=self.fill,
            Phase::Fill => self.fill + 1..=self.filled,
            Phase::Grow => self.filled + 1..=self.ready - 1,
            // What comes at once may be of the step before.
            Phase::Ready => self.ready..=(self.ready + 2).min(self.end),
            Phase::After => (self.ready + 3).min(self.end)..=self.end,
        }
    }

    /// Cuts in every phase, by `rng`. Half of those of a phase fall between a write and its flush, where the phase has such.
    #[must_use]
    pub fn cuts(&self, log: &WriteLog, rng: &mut fastrand::Rng) -> Vec<Cut> {
        let open = |at: usize| {
            (0..at)
                .filter(|n| log.entries().get(*n).is_some_and(Entry::is_write) && !log.is_safe(*n, at))
                .count()
        };
        let mut cuts = Vec::new();
        for (phase, count) in Phase::all() {
            let all: Vec<usize> = self.range(phase).collect();
            let unflushed: Vec<usize> = all.iter().copied().filter(|at| open(*at) > 0).collect();
            for n in 0..count {
                let from = if n % 2 == 0 && !unflushed.is_empty() { &unflushed } else { &all };
                // The very moment at which the service is told is the hardest.
                let at = if phase == Phase::Ready && n % 2 == 0 {
                    Some(self.ready)
                } else {
                    from.get(rng.usize(0..from.len().max(1))).copied()
                };
                if let Some(at) = at {
                    cuts.push(Cut { phase, at, open: open(at), luck: Luck::random(rng) });
                }
            }
        }
        cuts
    }
}

fn touches(entry: &Entry, at: u64, len: u64) -> bool {
    entry.at < at + len && at < entry.at + entry.len
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const START: u64 = 1 << 20;
    const PAGE: usize = 4096;
    const SOURCE: u64 = 4 * PAGE as u64;

    fn root() -> Partition {
        Partition { number: 3, label: "root".into(), kind: String::new(), start: START, len: 64 << 20 }
    }

    /// A log of writes, each a place in the partition and its pages, and of flushes.
    fn log(path: &Path, entries: &[Option<(u64, usize)>]) -> WriteLog {
        let mut bytes = Vec::new();
        let mut sector = |words: [u64; 4]| {
            let start = bytes.len();
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            bytes.resize(start + 512, 0);
            bytes.len()
        };
        sector([0x006a_7366_7773_6872, 1, 0, 512]);
        for entry in entries {
            let Some((at, pages)) = entry else {
                sector([0, 0, 1, 0]);
                continue;
            };
            sector([(START + at) / 512, (pages * PAGE / 512) as u64, 0, 0]);
            for _ in 0..pages * PAGE / 512 {
                sector([7; 4]);
            }
        }
        std::fs::write(path, bytes).unwrap();
        WriteLog::open(path).unwrap()
    }

    const MARK: Option<(u64, usize)> = Some((MARK_OFFSET, 1));
    const HEADER: Option<(u64, usize)> = Some((0, 9));
    const FIRST: Option<(u64, usize)> = Some((DATA_OFFSET, 3));
    const SECOND: Option<(u64, usize)> = Some((DATA_OFFSET + 3 * PAGE as u64, 1));
    const MOUNT: Option<(u64, usize)> = Some((DATA_OFFSET, 1));
    /// As a first boot should be: `formatted` is told after four entries, `ready` after nine.
    const GOOD: [Option<(u64, usize)>; 9] = [MARK, None, HEADER, None, FIRST, SECOND, None, MOUNT, None];

    fn without(flush: usize) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let left: Vec<_> = (0..GOOD.len()).filter(|n| *n != flush).map(|n| GOOD[n]).collect();
        let log = log(&dir.path().join("log"), &left);
        let told = |at: usize| if flush < at { at - 1 } else { at };
        Steps::find(&log, &root(), SOURCE, told(4), told(9))?.flushed_in_order(&log)
    }

    #[test]
    fn steps_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir.path().join("log"), &GOOD);
        let steps = Steps::find(&log, &root(), SOURCE, 4, 9).unwrap();
        let data = START + DATA_OFFSET;
        let want = Steps { mark: 0, header: 2, formatted: 4, fill: 4, filled: 5, ready: 9, end: 9, data };
        assert_eq!(steps, want);
        let one = |from: u64, len: u64, at| steps.block(from, at) == steps.block(from + len - 1, at);
        assert!(one(data, 4096, 9) && !one(data, 4097, 9) && one(START, 512, 9) && !one(data - 4096, 513, 9));
        assert!(one(data, 512, 8) && !one(data, 513, 8), "it is made anew");
        assert!(
            Steps::find(&log, &root(), SOURCE * 8, 4, 9).unwrap_err().to_string().contains("within the copy")
        );
        assert!(Steps::find(&log, &root(), SOURCE, 6, 9).unwrap_err().to_string().contains("out of order"));
    }

    #[test]
    fn each_flush_that_is_missing_is_told() {
        assert!(without(usize::MAX).is_ok());
        assert!(without(1).unwrap_err().to_string().contains("before the mark was flushed"));
        assert!(without(3).unwrap_err().to_string().contains("before the header was flushed"));
        assert!(without(6).unwrap_err().to_string().contains("before the copy was flushed"));
        // What the file system does with its own is tried by booting.
        assert!(without(8).is_ok());
    }

    #[test]
    fn cuts_fall_into_every_phase_and_between_writes_and_flushes() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir.path().join("log"), &GOOD);
        let steps = Steps::find(&log, &root(), SOURCE, 4, 9).unwrap();
        let cuts = steps.cuts(&log, &mut fastrand::Rng::with_seed(1));
        assert_eq!(cuts.len(), 40);
        for (phase, count) in Phase::all() {
            let of: Vec<_> = cuts.iter().filter(|cut| cut.phase == phase).collect();
            assert_eq!(of.len(), count, "{phase:?}");
            assert!(of.iter().all(|cut| steps.range(phase).contains(&cut.at)), "{phase:?}");
        }
        assert!(cuts.iter().any(|cut| cut.phase == Phase::Header && cut.open == 1));
        let again = steps.cuts(&log, &mut fastrand::Rng::with_seed(1));
        assert_eq!(
            cuts.iter().map(|cut| cut.at).collect::<Vec<_>>(),
            again.iter().map(|cut| cut.at).collect::<Vec<_>>()
        );
    }

    #[test]
    fn luck_is_all_none_or_some() {
        let kept = |percent| {
            let luck = Luck { seed: 5, percent };
            let writes = 0..400;
            writes.filter(|write| luck.survives(*write, 0) && luck.survives(*write, 1)).count()
        };
        assert!(kept(0) < 50 && kept(100) > 300 && (100..300).contains(&kept(50)));
        let torn = (0..400).filter(|write| {
            let luck = Luck { seed: 5, percent: 50 };
            (0..8).any(|sector| luck.survives(*write, sector) != luck.survives(*write, 0))
        });
        assert!((60..140).contains(&torn.count()));
    }
}
