//! A policy's judgement over a proven report: every demand is asked, each has its own rejection.

use crate::hex::{ChipId, Hex};
use crate::listed::Listed;
use crate::policy::{SnpPolicy, TcbFloor};
use crate::prove::SnpProven;
use crate::rejection::SnpRejection;
use crate::tcb::{Component, TcbKind, TcbVersion};

/// Proof that a proven report satisfies a policy. Made only by [`SnpPolicy::judge`].
#[derive(Clone, Copy, Debug)]
pub struct SnpSatisfied(());

impl SnpPolicy {
    /// The first of [`SnpPolicy::faults`], or the proof that there is none.
    pub fn judge(&self, proven: &SnpProven) -> Result<SnpSatisfied, SnpRejection> {
        match self.faults(proven).into_iter().next() {
            Some(first) => Err(first),
            None => Ok(SnpSatisfied(())),
        }
    }

    /// Every demand that the report does not meet: what lets the host into the guest first, then the platform, then the guest.
    pub fn faults(&self, proven: &SnpProven) -> Vec<SnpRejection> {
        let mut faults = Vec::new();
        self.guest_policy_faults(proven, &mut faults);
        self.signer_faults(proven, &mut faults);
        self.platform_faults(proven, &mut faults);
        self.guest_faults(proven, &mut faults);
        faults
    }

    fn guest_policy_faults(&self, proven: &SnpProven, faults: &mut Vec<SnpRejection>) {
        let report = proven.report();
        let policy = report.policy;
        if policy.debug() && !self.danger_debug {
            faults.push(SnpRejection::Debug(policy));
        }
        if policy.migration() && !self.danger_migration {
            faults.push(SnpRejection::Migration(policy));
        }
        if policy.unknown() != 0 {
            faults.push(SnpRejection::PolicyUnknown { policy, unknown: policy.unknown() });
        }
        if !self.vmpl.iter().any(|allowed| u32::from(*allowed) == report.vmpl) {
            faults.push(SnpRejection::Vmpl { seen: report.vmpl, wanted: self.vmpl.clone() });
        }
        if policy.smt() && !self.smt {
            faults.push(SnpRejection::Smt(policy));
        }
        let flag = |(flag, seen)| SnpRejection::PolicyFlag { policy, flag, seen };
        faults.extend(self.guest_policy.faults(policy).map(flag));
        match self.minimum_abi {
            Some(wanted) if policy.abi() < wanted => {
                faults.push(SnpRejection::Abi { seen: policy.abi(), wanted });
            }
            _ => {}
        }
    }

    fn signer_faults(&self, proven: &SnpProven, faults: &mut Vec<SnpRejection>) {
        let seen = proven.product();
        if let Some(wanted) = self.products.as_ref().filter(|wanted| !wanted.contains(&seen)) {
            faults.push(SnpRejection::Product { seen, wanted: wanted.clone() });
        }
        let seen = proven.signing_key();
        if self.signing_keys.as_ref().is_some_and(|wanted| !wanted.contains(&seen)) {
            faults.push(SnpRejection::SigningKey { seen });
        }
        let seen = proven.provider().unwrap_or_default();
        if let Some(wanted) = self.providers.as_ref().filter(|wanted| !wanted.iter().any(|name| name == seen))
        {
            faults.push(SnpRejection::Provider { seen: seen.to_owned(), wanted: wanted.clone() });
        }
        if self.require_crl && !proven.endorsement().crl_checked() {
            faults.push(SnpRejection::CrlMissing);
        }
        self.chip_faults(proven, faults);
    }

    fn chip_faults(&self, proven: &SnpProven, faults: &mut Vec<SnpRejection>) {
        let allowed = self.chip_ids_allowed.as_ref();
        if allowed.is_none() && self.chip_ids_denied.is_empty() {
            return;
        }
        let Some(id) = proven.chip_id().map(ChipId) else {
            faults.push(SnpRejection::ChipMasked);
            return;
        };
        if self.chip_ids_denied.contains(&id) {
            faults.push(SnpRejection::ChipDenied { seen: id.to_string() });
        }
        if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&id)) {
            faults.push(SnpRejection::ChipNotAllowed { seen: id.to_string(), listed: allowed.len() });
        }
    }

    fn platform_faults(&self, proven: &SnpProven, faults: &mut Vec<SnpRejection>) {
        let report = proven.report();
        let product = proven.product();
        match self.minimum_tcb.get(&product) {
            Some(floor) => {
                let tcbs = proven.tcbs();
                for (kind, tcb) in [(TcbKind::Reported, tcbs.reported), (TcbKind::Launch, tcbs.launch)] {
                    faults.extend(floor.faults(tcb).map(|(component, seen, wanted)| {
                        SnpRejection::TcbTooOld { kind, component, product, seen, wanted }
                    }));
                }
            }
            None if !self.minimum_tcb.is_empty() => faults.push(SnpRejection::TcbNoFloor { product }),
            None => {}
        }
        if let Some(wanted) = self.minimum_firmware.filter(|wanted| report.committed < *wanted) {
            faults.push(SnpRejection::FirmwareTooOld { seen: report.committed, wanted });
        }
        let wanted = self.mitigations;
        for (kind, vector) in
            [(TcbKind::Launch, report.launch_mitigations), (TcbKind::Current, report.current_mitigations)]
        {
            let seen = vector.unwrap_or(0);
            if seen & wanted != wanted {
                faults.push(SnpRejection::Mitigations { kind, seen, wanted });
            }
        }
        let flag = |(flag, seen)| SnpRejection::Platform { flag, seen };
        faults.extend(self.platform.faults(report.platform_info).map(flag));
    }

    fn guest_faults(&self, proven: &SnpProven, faults: &mut Vec<SnpRejection>) {
        let report = proven.report();
        faults.extend(
            unlisted(report.measurement, self.measurements.as_deref())
                .map(|(seen, listed)| SnpRejection::Measurement { seen, listed }),
        );
        faults.extend(
            unlisted(report.host_data, self.host_data.as_deref())
                .map(|(seen, listed)| SnpRejection::HostData { seen, listed }),
        );
        for (field, id, listed) in [
            ("FAMILY_ID", report.family_id, self.family_ids.as_deref()),
            ("IMAGE_ID", report.image_id, self.image_ids.as_deref()),
        ] {
            let fault = |(seen, listed)| SnpRejection::GuestId { field, seen, listed };
            faults.extend(unlisted(id, listed).map(fault));
        }
        faults.extend(
            unlisted(report.id_key_digest, self.id_key_digests.as_deref())
                .map(|(seen, listed)| SnpRejection::IdKey { seen, listed }),
        );
        if let Some(listed) = self.author_key_digests.as_ref() {
            let seen = proven.author_key().map(Hex);
            if seen.is_none_or(|key| !listed.contains(&key)) {
                let seen = seen.map(|key| key.to_string());
                faults.push(SnpRejection::AuthorKey { seen, listed: Listed::of(listed) });
            }
        }
        let (seen, wanted) = (report.guest_svn, self.minimum_guest_svn);
        if seen < wanted {
            faults.push(SnpRejection::GuestSvn { seen, wanted });
        }
    }
}

impl TcbFloor {
    /// Each component that is too old: what it is, and what it should be. A missing FMC counts as 0.
    fn faults(self, tcb: TcbVersion) -> impl Iterator<Item = (Component, u8, u8)> {
        [
            (Component::Fmc, tcb.fmc.unwrap_or(0), self.fmc),
            (Component::Bootloader, tcb.bootloader, self.bootloader),
            (Component::Tee, tcb.tee, self.tee),
            (Component::Snp, tcb.snp, self.snp),
            (Component::Microcode, tcb.microcode, self.microcode),
        ]
        .into_iter()
        .filter_map(|(component, seen, wanted)| {
            wanted.filter(|wanted| seen < *wanted).map(|wanted| (component, seen, wanted))
        })
    }
}

/// The value as text and the list that does not have it.
fn unlisted<const N: usize>(value: [u8; N], listed: Option<&[Hex<N>]>) -> Option<(String, Listed)> {
    let value = Hex(value);
    listed.filter(|listed| !listed.contains(&value)).map(|listed| (value.to_string(), Listed::of(listed)))
}
