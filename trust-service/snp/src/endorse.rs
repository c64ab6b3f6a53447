//! The chain above an endorsement key, proven once and then good for every report of that key until it ends.

use crate::bits::KeyKind;
use crate::ca::{CaCertificate, Root, Roots};
use crate::certificates::Certificates;
use crate::crl::Crl;
use crate::product::Product;
use crate::rejection::SnpRejection;
use crate::report::Report;
use crate::tcb::TcbVersion;
use crate::vek::VekCertificate;
use crate::x509;
use ccnode_evidence::UnixTime;
use x509_parser::prelude::X509Certificate;

/// Proof that a trusted root leads to an endorsement key. Made only by [`Endorsement::verify`].
///
/// It may be kept: [`crate::ReportParsed::prove`] compares its dates again. What it does not do again is ask revocation lists, so
/// drop what is kept when a new list arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endorsement {
    pub(crate) vek: VekCertificate,
    chain: Vec<Link>,
    root: [u8; 32],
    danger_root: bool,
    crl_checked: bool,
}

/// A certificate of the chain with its dates.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Link {
    subject: String,
    validity: (UnixTime, UnixTime),
}

impl Endorsement {
    /// Leads one endorsement certificate to one of the roots, by the CAs sent along or AMD's known ones.
    ///
    /// Every revocation list in the name of a CA of the chain must be signed by it, may not name what it issued, and one must be
    /// current; lists of other CAs are left alone.
    pub fn verify(
        vek: &VekCertificate,
        sent: &Certificates,
        roots: &Roots,
        now: UnixTime,
    ) -> Result<Self, SnpRejection> {
        let cert = x509::read(vek.der()).map_err(|reason| malformed(0, reason))?;
        let ca = issuer_of(vek, &cert, sent, roots)?;
        let root = root_of(ca, roots)?;
        if root.product != vek.product() {
            return Err(SnpRejection::ProductMismatch {
                certificate: vek.product(),
                other: root.product,
                root: true,
            });
        }
        let link = |subject: &str, validity| Link { subject: subject.to_owned(), validity };
        let chain = vec![
            link(root.cert.common_name(), root.cert.validity()),
            link(ca.common_name(), ca.validity()),
            link(&format!("SEV-{}", vek.kind()), vek.validity()),
        ];
        let mut endorsement = Self {
            vek: vek.clone(),
            chain,
            root: root.cert.fingerprint(),
            danger_root: !root.amd,
            crl_checked: false,
        };
        endorsement.check_time(now)?;
        let below_root = [(&ca.serial, ca.common_name()), (&root.cert.serial, root.cert.common_name())];
        endorsement.crl_checked = not_revoked(&root.cert, &below_root, &sent.crls, now)?;
        let subject = format!("SEV-{}", vek.kind());
        not_revoked(ca, &[(&cert.raw_serial().to_vec(), &subject)], &sent.crls, now)?;
        Ok(endorsement)
    }

    /// Picks the certificate that fits a report among those sent along, and leads it to a root.
    ///
    /// Where several are of the kind that signed, the one of the report's chip and TCB counts.
    pub fn of_report(
        report: &Report,
        sent: &Certificates,
        roots: &Roots,
        now: UnixTime,
    ) -> Result<Self, SnpRejection> {
        let wanted = signing_key(report)?;
        let of_kind = || sent.veks.iter().filter(|vek| vek.kind() == wanted);
        let best = of_kind().find(|vek| vek.may_sign(report)).or_else(|| of_kind().next());
        match (best, sent.veks.first()) {
            (Some(vek), _) => Self::verify(vek, sent, roots, now),
            (None, Some(other)) => Err(SnpRejection::KeyKind { report: wanted, certificate: other.kind() }),
            (None, None) => Err(SnpRejection::CertificateMissing { wanted }),
        }
    }

    /// Whether every certificate of the chain is within its validity.
    pub fn check_time(&self, now: UnixTime) -> Result<(), SnpRejection> {
        let outside = self.chain.iter().find(|l| !(l.validity.0..=l.validity.1).contains(&now));
        match outside {
            None => Ok(()),
            Some(Link { subject, validity: (not_before, not_after) }) => Err(SnpRejection::CertExpired {
                subject: subject.clone(),
                not_before: *not_before,
                not_after: *not_after,
                now,
            }),
        }
    }

    /// The endorsement certificate.
    pub fn vek(&self) -> &VekCertificate {
        &self.vek
    }

    /// The line of processors, by certificate and root.
    pub fn product(&self) -> Product {
        self.vek.product()
    }

    /// The TCB that the key was derived for.
    pub fn tcb(&self) -> TcbVersion {
        self.vek.tcb()
    }

    /// SHA-256 of the root's certificate.
    pub fn root(&self) -> [u8; 32] {
        self.root
    }

    /// Common names from the root down.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.chain.iter().map(|link| link.subject.as_str())
    }

    /// Whether the root is one that an administrator added, and not AMD's.
    pub fn danger_root(&self) -> bool {
        self.danger_root
    }

    /// Whether a current revocation list of the root was there and named nothing of the chain.
    pub fn crl_checked(&self) -> bool {
        self.crl_checked
    }
}

/// The key that signed a report, or why none did.
pub(crate) fn signing_key(report: &Report) -> Result<KeyKind, SnpRejection> {
    match report.key_info.signing_key {
        _ if report.key_info.mask_chip_key => Err(SnpRejection::Unsigned { masked: true }),
        None => Err(SnpRejection::Unsigned { masked: false }),
        Some(kind) => Ok(kind),
    }
}

/// The CA whose key signed the endorsement certificate.
fn issuer_of<'a>(
    vek: &VekCertificate,
    cert: &X509Certificate<'_>,
    sent: &'a Certificates,
    roots: &'a Roots,
) -> Result<&'a CaCertificate, SnpRejection> {
    let subject = format!("SEV-{}", vek.kind());
    let mut named = None;
    for ca in roots.intermediates.iter().chain(&sent.cas) {
        if ca.subject.0 != cert.issuer().as_raw() || ca.certifies() != Some(vek.kind()) {
            continue;
        }
        named = Some(ca);
        if ca.signed(cert.tbs_certificate.as_ref(), &cert.signature_value.data).is_some() {
            return Ok(ca);
        }
    }
    Err(match named {
        Some(ca) => SnpRejection::ChainSignature { subject, issuer: ca.common_name().to_owned() },
        None => SnpRejection::ChainIssuer {
            issuer: x509::common_name(cert.issuer())
                .unwrap_or_else(|_| x509::printable(&cert.issuer().to_string())),
            kind: vek.kind(),
        },
    })
}

/// The trusted root whose key signed the intermediate.
fn root_of<'a>(ca: &CaCertificate, roots: &'a Roots) -> Result<&'a Root, SnpRejection> {
    let cert = x509::read(ca.der()).map_err(|reason| malformed(1, reason))?;
    let signed = |root: &&Root| {
        root.cert.subject == ca.issuer
            && root.cert.signed(cert.tbs_certificate.as_ref(), &cert.signature_value.data).is_some()
    };
    roots.roots.iter().find(signed).ok_or_else(|| SnpRejection::ChainUntrusted {
        subject: ca.common_name().to_owned(),
        issuer: x509::common_name(cert.issuer()).unwrap_or_default(),
    })
}

/// Whether a current list of this CA was there; an error where one names what it issued.
fn not_revoked(
    ca: &CaCertificate,
    issued: &[(&Vec<u8>, &str)],
    crls: &[Crl],
    now: UnixTime,
) -> Result<bool, SnpRejection> {
    let (mut current, mut stale) = (false, None);
    for crl in crls.iter().filter(|crl| crl.issuer == ca.subject) {
        if !crl.is_signed_by(ca) {
            return Err(SnpRejection::CrlSignature { issuer: ca.common_name().to_owned() });
        }
        if let Some((_, subject)) = issued.iter().find(|(serial, _)| crl.names(serial)) {
            return Err(SnpRejection::Revoked { subject: (*subject).to_owned() });
        }
        let (this_update, next_update) = crl.validity();
        if (this_update..=next_update).contains(&now) {
            current = true;
        } else {
            let issuer = ca.common_name().to_owned();
            stale = Some(SnpRejection::CrlExpired { issuer, this_update, next_update, now });
        }
    }
    match stale {
        Some(stale) if !current => Err(stale),
        _ => Ok(current),
    }
}

fn malformed(index: usize, reason: x509::CertError) -> SnpRejection {
    crate::CertificatesError::Certificate { index, reason }.into()
}
