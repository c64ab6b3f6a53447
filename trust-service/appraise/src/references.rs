//! The pool's references: platform and image tuple, each matched whole, the pair allowed, and what is judged by other rules.

use crate::session::MembersBound;
use crate::{
    AllowedOnce, BootEvents, Collateral, EkRoot, Explanation, Hardware, Rejection, SelectionExact,
    boot_aggregate_pcrs,
};
use ccnode_evidence::{ImageTuple, PcrIndex, PcrSet, PcrValues, PlatformTuple, Sha256Digest, TupleEvent};
use ccnode_tpm_eventlog::{Cmdlines, LogMatchesPcrs, Reference, explain};
use std::collections::BTreeMap;

/// What a pool allows.
#[derive(Clone, Copy)]
pub struct References<'a> {
    /// Platforms it knows.
    pub platforms: &'a [PlatformTuple],
    /// Images it knows.
    pub images: &'a [ImageTuple],
    /// Pairs of ids (platform, image) that it allows together.
    pub pairs: &'a [(Sha256Digest, Sha256Digest)],
    /// CAs of endorsement keys, each with its level.
    pub ek_roots: &'a [EkRoot],
    /// Whether PCR 8 may hold init-data.
    pub allow_init_data: bool,
    /// What it demands of hardware.
    pub hardware: &'a Hardware,
    /// Where certificates and TCB information are that do not come with the evidence.
    pub collateral: &'a dyn Collateral,
}

/// Proof that the quoted PCRs are what the pool allows, PCR 15 zero among them.
#[derive(Clone, Debug)]
pub struct ReferencesSatisfied(());

/// Proof that the pool takes the platform and the image together, or that administrators let this very state through once.
pub(crate) struct PairAdmitted<'a> {
    /// None where no tuple matches and the state was allowed once.
    pub(crate) platform: Option<&'a PlatformTuple>,
    pub(crate) image: &'a ImageTuple,
    /// Whether it took an [`AllowedOnce`].
    pub(crate) once: bool,
}

impl<'a> PairAdmitted<'a> {
    /// Judges what the quoted values matched. An image that is unknown is never admitted.
    pub(crate) fn check(
        references: &References<'a>,
        (platform, image): (Result<&'a PlatformTuple, Rejection>, Result<&'a ImageTuple, Rejection>),
        quoted: &SelectionExact,
        once: Option<&AllowedOnce>,
    ) -> Result<Self, Rejection> {
        let (platform, image) = match (platform, image) {
            (platform, Ok(image)) => (platform, image),
            (Err(rejection), Err(_)) | (Ok(_), Err(rejection)) => return Err(rejection),
        };
        let known = platform.as_ref().ok().copied();
        let covered = once.is_some_and(|once| once.covers(quoted, known, image));
        match platform {
            Ok(tuple) if references.pairs.contains(&(tuple.id(), image.id())) => {
                Ok(Self { platform: known, image, once: false })
            }
            _ if covered => Ok(Self { platform: known, image, once: true }),
            Ok(tuple) => Err(Rejection::PairNotAllowed {
                platform: tuple.id(),
                platform_name: tuple.name.clone(),
                image: image.id(),
                image_name: format!("{} {}", image.name, image.version),
            }),
            Err(unknown) => Err(unknown),
        }
    }
}

impl References<'_> {
    /// The platform tuple that matches whole.
    pub(crate) fn platform(
        &self,
        quoted: &SelectionExact,
        log: &LogMatchesPcrs<'_>,
    ) -> Result<&PlatformTuple, Rejection> {
        let found = self.platforms.iter().find(|tuple| holds(quoted.pcrs(), &tuple.pcrs));
        found.ok_or_else(|| {
            let closest = self.platforms.iter().max_by_key(|tuple| equal_events(log, &tuple.events));
            let explanation = closest.map(|tuple| Explanation {
                closest: Some(format!("platform {}", tuple.name)),
                closest_id: Some(tuple.id()),
                differences: explain(log, &Reference::platform(tuple), Cmdlines::default()),
            });
            Rejection::PlatformUnknown(Box::new(explanation.unwrap_or_default()))
        })
    }

    /// The image tuple that matches whole; `cmdline` is what the node says its command line is.
    pub(crate) fn image(
        &self,
        quoted: &SelectionExact,
        log: &LogMatchesPcrs<'_>,
        cmdline: &str,
    ) -> Result<&ImageTuple, Rejection> {
        let found = self.images.iter().find(|tuple| holds(quoted.pcrs(), &tuple.pcrs));
        found.ok_or_else(|| {
            let closest = self.images.iter().max_by_key(|tuple| equal_events(log, &tuple.events));
            let explanation = closest.map(|tuple| {
                let cmdlines = Cmdlines { found: Some(cmdline), expected: Some(&tuple.cmdline) };
                Explanation {
                    closest: Some(format!("image {} {}", tuple.name, tuple.version)),
                    closest_id: Some(tuple.id()),
                    differences: explain(log, &Reference::image(tuple), cmdlines),
                }
            });
            Rejection::ImageUnknown(Box::new(explanation.unwrap_or_default()))
        })
    }

    /// All that is left once the pair is admitted.
    pub(crate) fn rest(
        &self,
        _admitted: &PairAdmitted<'_>,
        quoted: &SelectionExact,
        log: &LogMatchesPcrs<'_>,
        bound: &MembersBound,
    ) -> Result<ReferencesSatisfied, Rejection> {
        let BootEvents { .. } = BootEvents::check(log)?;
        self.init_data(quoted.pcrs(), bound)?;
        ima(quoted.pcrs())?;
        not_capped(quoted)?;
        Ok(ReferencesSatisfied(()))
    }

    /// PCR 8: zero without init-data; with init-data, where they are allowed, exactly one extension by their digest.
    fn init_data(&self, pcrs: &PcrValues, bound: &MembersBound) -> Result<(), Rejection> {
        let value = value(pcrs, 8);
        let due = match bound.init_data {
            None => Sha256Digest::ZERO,
            Some(digest) if self.allow_init_data => Sha256Digest::ZERO.extend(&digest),
            Some(_) => return Err(Rejection::InitData { value, allowed: false }),
        };
        if value == due { Ok(()) } else { Err(Rejection::InitData { value, allowed: self.allow_init_data }) }
    }
}

/// PCR 15 is zero: no cap, no volume.
pub(crate) fn not_capped(quoted: &SelectionExact) -> Result<(), Rejection> {
    uncapped(quoted.pcrs())
}

/// The same of values that another proof stands for.
pub(crate) fn uncapped(pcrs: &PcrValues) -> Result<(), Rejection> {
    let value = value(pcrs, 15);
    if value == Sha256Digest::ZERO { Ok(()) } else { Err(Rejection::AlreadyCapped { value }) }
}

fn ima(pcrs: &PcrValues) -> Result<(), Rejection> {
    let value = value(pcrs, 10);
    let aggregates = boot_aggregate_pcrs(pcrs).unwrap_or([Sha256Digest::ZERO; 2]);
    if value == Sha256Digest::ZERO || aggregates.contains(&value) {
        return Ok(());
    }
    Err(Rejection::ImaUnexpected { value, aggregates })
}

/// The value of a PCR that the selection is known to hold.
pub(crate) fn value(pcrs: &PcrValues, index: u8) -> Sha256Digest {
    // All ones is no value that a rule here allows.
    let absent = Sha256Digest([0xff; 32]);
    PcrSet::CCNODE
        .iter()
        .find(|pcr| pcr.get() == index)
        .and_then(|pcr| pcrs.get(pcr))
        .copied()
        .unwrap_or(absent)
}

pub(crate) fn holds(quoted: &PcrValues, tuple: &PcrValues) -> bool {
    !tuple.0.is_empty() && tuple.0.iter().all(|(pcr, value)| quoted.get(*pcr) == Some(value))
}

/// How many of a tuple's events the log has in the same PCR, each counted once.
fn equal_events(log: &LogMatchesPcrs<'_>, events: &BTreeMap<PcrIndex, Vec<TupleEvent>>) -> usize {
    let mut left: BTreeMap<(u32, Sha256Digest), usize> = BTreeMap::new();
    for event in log.log().events.iter().filter(|e| e.extends()) {
        if let Some(digest) = event.sha256() {
            *left.entry((event.register, digest)).or_default() += 1;
        }
    }
    let all = events.iter().flat_map(|(pcr, events)| events.iter().map(|e| (u32::from(pcr.get()), e.digest)));
    all.filter(|key| match left.get_mut(key) {
        Some(n) if *n > 0 => {
            *n -= 1;
            true
        }
        _ => false,
    })
    .count()
}
