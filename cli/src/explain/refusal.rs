//! The logs that the service kept of a refusal, beside the tuple that came closest.

use super::report::Report;
use super::subject::{Subject, What, printable};
use crate::admin::{connect, images, platforms};
use crate::args::Global;
use crate::error::Usage;
use anyhow::{Context as _, Result, bail};
use ccnode_protocol::admin::{self, ImageRecord, Kept, PlatformRecord, RefusalRecord};
use ccnode_tpm_eventlog::{EventLog, own};

/// What the service knows of it.
pub(crate) struct Fetched {
    id: u64,
    kept: Kept,
    closest: Option<String>,
    images: Vec<ImageRecord>,
    platforms: Vec<PlatformRecord>,
}

pub(crate) async fn fetch(global: &Global, id: u64) -> Result<Fetched> {
    let client = connect(global)?;
    let record: RefusalRecord = client.get(&admin::path(admin::REFUSAL, &[&id])).await?;
    let Some(kept) = record.kept else {
        bail!(no_log(id, &record));
    };
    let (images, platforms) = (images(&client).await?, platforms(&client).await?);
    Ok(Fetched { id, kept, closest: record.closest, images, platforms })
}

/// Neither what a node refused by itself nor what proved nothing has a log.
pub(crate) fn no_log(id: u64, record: &RefusalRecord) -> Usage {
    let next = "take one that the service decided, of a node that proved its TPM";
    Usage::new(format!("the service kept no log of refusal {id} ({})", record.code), next)
}

impl Fetched {
    /// The boot beside `other`, or else beside the closest tuple, or else alone.
    pub(crate) fn report<'a>(&'a self, other: Option<Subject<'a>>) -> Result<Report<'a>> {
        let logs = &self.kept.logs;
        let firmware = EventLog::parse(&logs.event_log.0).context("the kept firmware log")?;
        let log = firmware.followed_by(&own::parse(&logs.own_log.0).context("the kept log of the node")?);
        let subject = Subject { name: format!("refusal {}", self.id), what: What::Log(log) };
        match other.or_else(|| self.closest()) {
            Some(other) => Report::proven(subject, other, &self.kept.pcrs, &logs.cmdline),
            None => Report::alone(subject),
        }
    }

    /// The registered tuple whose name the refusal has.
    fn closest(&self) -> Option<Subject<'_>> {
        let closest = self.closest.as_deref()?;
        let subject = |what| Subject { name: printable(closest), what };
        let image = |record: &&ImageRecord| {
            closest == printable(&format!("image {} {}", record.tuple.name, record.tuple.version))
        };
        if let Some(record) = self.images.iter().find(image) {
            return Some(subject(What::Image(Box::new(record.tuple.clone()))));
        }
        let platform =
            |record: &&PlatformRecord| closest == printable(&format!("platform {}", record.tuple.name));
        let record = self.platforms.iter().find(platform)?;
        Some(subject(What::Platform(Box::new(record.tuple.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::{EventLogs, HashAlg, ImageTuple, PcrValues, PlatformTuple};

    const TAMPERED: &[u8] = include_bytes!("../../tests/explain/tampered.log");
    const CMDLINE: &str = include_str!("../../tests/explain/tampered.cmdline");

    fn quoted(own_log: &[u8]) -> PcrValues {
        let log = EventLog::parse(TAMPERED).unwrap().followed_by(&own::parse(own_log).unwrap());
        log.replay(HashAlg::Sha256).unwrap().pcrs()
    }

    fn fetched(closest: Option<&str>) -> Fetched {
        let image = ImageTuple::from_json(include_bytes!("../../tests/explain/image.json")).unwrap();
        let platform = PlatformTuple::from_json(include_bytes!("../../tests/explain/platform.json")).unwrap();
        let logs =
            EventLogs { event_log: TAMPERED.to_vec().into(), cmdline: CMDLINE.into(), ..Default::default() };
        let (id, registered, pools) = (image.id(), 0, Vec::new());
        let images = vec![ImageRecord { id, tuple: image, registered, pools }];
        let (id, registered, pools) = (platform.id(), 0, Vec::new());
        let platforms = vec![PlatformRecord { id, tuple: platform, registered, pools }];
        Fetched {
            id: 7,
            kept: Kept { logs, pcrs: quoted(&[]) },
            closest: closest.map(str::to_owned),
            images,
            platforms,
        }
    }

    #[test]
    fn says_what_the_refusal_said() {
        let fetched = fetched(Some("image worker 1"));
        let report = fetched.report(None).unwrap();
        assert!(report.proven && report.differences.iter().all(|d| d.proven));
        assert_eq!(report.differences[0].sentence, "PCR 11: kernel command line: `init=/bin/sh` added");
        assert_eq!(report.b.as_ref().map(Subject::kind), Some("image"));
    }

    #[test]
    fn the_kernels_own_log_of_pcr_10_is_not_wanted() {
        let mut fetched = fetched(Some("image worker 1"));
        let ima = fetched.kept.pcrs.0.iter_mut().find(|(pcr, _)| pcr.get() == 10).unwrap().1;
        *ima = ccnode_evidence::Sha256Digest::of(b"boot_aggregate");
        let report = fetched.report(None).unwrap();
        assert!(report.proven);
        assert_eq!(report.differences[0].sentence, "PCR 11: kernel command line: `init=/bin/sh` added");
    }

    #[test]
    fn the_closest_may_be_a_platform_another_or_none() {
        let of = |closest| fetched(closest).report(None).unwrap().b.map(|b| b.kind());
        assert_eq!(of(Some("platform q35")), Some("platform"));
        assert_eq!(of(Some("image other 1")), None);
        assert_eq!(of(None), None);
        let good = include_bytes!("../../tests/explain/good.log");
        let fetched = fetched(None);
        let report = fetched.report(Some(Subject::parse("good.log", good).unwrap())).unwrap();
        assert!(report.a_is_expected && !report.proven && report.a.name == "good.log");
    }

    #[test]
    fn t11_a_kept_log_must_be_the_quotes() {
        for changed in (0..16).filter(|pcr| *pcr != 10) {
            let mut fetched = fetched(Some("image worker 1"));
            let pcrs = fetched.kept.pcrs.0.iter_mut().find(|(pcr, _)| pcr.get() == changed);
            *pcrs.unwrap().1 = ccnode_evidence::Sha256Digest([0xee; 32]);
            let error = fetched.report(None).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("the kept log is not the one of the quote"), "{error}");
        }
    }
}
