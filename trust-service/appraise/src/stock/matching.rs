//! What the pool compares stock evidence with: its allowed pairs by value, its reference values, or the launches that it lists.

use super::init_data::InitDataBound;
use super::signed::Selected;
use super::{ReferenceValues, StockReferences, TRUSTED_AKS};
use crate::hardware::ReportSatisfied;
use crate::level::LaunchMatched;
use crate::references::{References, holds, uncapped};
use crate::session::malformed;
use crate::{Explanation, Rejection};
use ccnode_evidence::{EvidenceKind, IMAGE_PCRS, PLATFORM_PCRS, PcrIndex, PcrValues, Sha256Digest};

/// What stock evidence matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StockMatch {
    /// A platform and an image that the pool allows together, by the values of their PCRs.
    Pair {
        /// Id of the platform tuple.
        platform: Sha256Digest,
        /// Id of the image tuple.
        image: Sha256Digest,
        /// The image's name and version.
        image_name: String,
    },
    /// A launch that the pool lists for an image.
    Launch {
        /// Id of the image tuple.
        image: Sha256Digest,
        /// The image's name and version.
        image_name: String,
    },
    /// Every reference value that was posted.
    Values {
        /// Their names.
        names: Vec<String>,
    },
}

impl StockMatch {
    /// The platform, where one matched.
    pub fn platform(&self) -> Option<Sha256Digest> {
        match self {
            Self::Pair { platform, .. } => Some(*platform),
            Self::Launch { .. } | Self::Values { .. } => None,
        }
    }

    /// The image, where one matched.
    pub fn image(&self) -> Option<Sha256Digest> {
        match self {
            Self::Pair { image, .. } | Self::Launch { image, .. } => Some(*image),
            Self::Values { .. } => None,
        }
    }
}

/// Proof that what booted is what the pool allows, as far as values alone tell.
#[derive(Clone, Debug)]
pub(super) struct StockSatisfied(());

type Satisfied = (StockMatch, Vec<PcrIndex>, StockSatisfied);

impl StockSatisfied {
    /// By the quoted values, PCR 8 and PCR 15 among them; answers the PCRs that nothing was compared with, too.
    pub(super) fn by_pcrs(
        kind: EvidenceKind,
        selected: &Selected,
        init_data: &InitDataBound,
        references: &StockReferences<'_>,
    ) -> Result<Satisfied, Rejection> {
        let pcrs = &selected.pcrs;
        let (matched, mut judged) = match references.values {
            Some(values) => by_values(values, selected)?,
            None => (by_tuples(&references.pool, pcrs)?, [PLATFORM_PCRS, IMAGE_PCRS].concat()),
        };
        if !judged.contains(&15) {
            uncapped(pcrs)?;
            judged.push(15);
        }
        if init_data.is_some() || !judged.contains(&8) {
            init_data.judge_pcr_8(kind, pcrs, references.pool.allow_init_data)?;
            judged.push(8);
        }
        let not_judged = PcrIndex::all().filter(|pcr| !judged.contains(&pcr.get())).collect();
        Ok((matched, not_judged, Self(())))
    }

    /// By a report alone, which covers the image whole.
    pub(super) fn by_launch(
        report: Option<&ReportSatisfied>,
        references: &StockReferences<'_>,
    ) -> Result<Satisfied, Rejection> {
        let report = report.ok_or_else(|| malformed("tee-evidence", "a report is missing"))?;
        if let Some(values) = references.values {
            // All that was posted must match, and a report has none of it.
            let name =
                values.pcrs().keys().next().map_or(TRUSTED_AKS.to_owned(), |pcr| format!("tpm_pcr{pcr}"));
            let value = "absent: there is no TPM".to_owned();
            return Err(Rejection::ReferenceValue { name, value, listed: 0 });
        }
        let pool = &references.pool;
        let (LaunchMatched { .. }, image) = LaunchMatched::of(report, pool.hardware.policy(), pool.images)?;
        let image_name = format!("{} {}", image.name, image.version);
        Ok((StockMatch::Launch { image: image.id(), image_name }, Vec::new(), Self(())))
    }
}

fn by_tuples(pool: &References<'_>, pcrs: &PcrValues) -> Result<StockMatch, Rejection> {
    let platform = pool.platforms.iter().find(|tuple| holds(pcrs, &tuple.pcrs)).ok_or_else(|| {
        let named = pool.platforms.iter().map(|t| (format!("platform {}", t.name), t.id(), &t.pcrs));
        Rejection::PlatformUnknown(Box::new(closest(pcrs, named)))
    })?;
    let image = pool.images.iter().find(|tuple| holds(pcrs, &tuple.pcrs)).ok_or_else(|| {
        let named = pool.images.iter().map(|t| (format!("image {} {}", t.name, t.version), t.id(), &t.pcrs));
        Rejection::ImageUnknown(Box::new(closest(pcrs, named)))
    })?;
    let (platform_id, image_id) = (platform.id(), image.id());
    let image_name = format!("{} {}", image.name, image.version);
    if !pool.pairs.contains(&(platform_id, image_id)) {
        return Err(Rejection::PairNotAllowed {
            platform: platform_id,
            platform_name: platform.name.clone(),
            image: image_id,
            image_name,
        });
    }
    Ok(StockMatch::Pair { platform: platform_id, image: image_id, image_name })
}

/// The tuple with the fewest other values, and which PCRs have them.
fn closest<'a>(
    pcrs: &PcrValues,
    tuples: impl Iterator<Item = (String, Sha256Digest, &'a PcrValues)>,
) -> Explanation {
    let others = |tuple: &PcrValues| -> Vec<String> {
        let other = tuple.0.iter().filter(|(pcr, value)| pcrs.get(**pcr) != Some(value));
        other.map(|(pcr, _)| pcr.to_string()).collect()
    };
    let found =
        tuples.map(|(name, id, tuple)| (name, id, others(tuple))).min_by_key(|(.., others)| others.len());
    let Some((name, id, others)) = found else { return Explanation::default() };
    let closest = Some(format!("{name} in PCR {}", others.join(", ")));
    Explanation { closest, closest_id: Some(id), differences: Vec::new() }
}

/// Every list that was posted has the value of this evidence.
fn by_values(values: &ReferenceValues, selected: &Selected) -> Result<(StockMatch, Vec<u8>), Rejection> {
    let missing = values.missing();
    if !missing.is_empty() {
        return Err(Rejection::ReferenceValuesIncomplete { missing: missing.join(", ") });
    }
    let (mut names, mut judged) = (Vec::new(), Vec::new());
    for (pcr, allowed) in values.pcrs() {
        let name = format!("tpm_pcr{pcr}");
        let value = selected.pcrs.get(*pcr);
        if !value.is_some_and(|value| allowed.contains(value)) {
            let value = value.map_or_else(|| "absent".to_owned(), |value| value.hex());
            return Err(Rejection::ReferenceValue { name, value, listed: allowed.len() });
        }
        names.push(name);
        judged.push(pcr.get());
    }
    if let Some(keys) = values.trusted_aks() {
        if !keys.contains(&selected.ak) {
            let value = format!("a key with SHA-256 {}", Sha256Digest::of(&selected.ak));
            return Err(Rejection::ReferenceValue { name: TRUSTED_AKS.into(), value, listed: keys.len() });
        }
        names.push(TRUSTED_AKS.to_owned());
    }
    Ok((StockMatch::Values { names }, judged))
}
