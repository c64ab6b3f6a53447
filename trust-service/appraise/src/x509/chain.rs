//! The climb from a certificate to the CAs above it.

use super::{SignatureFault, memo, names, printable, signature, validity};
use crate::UnixTime;
use x509_parser::prelude::X509Certificate;

/// CAs above a certificate that are looked at; TPM makers have one to three.
const MAX_DEPTH: usize = 6;
/// Signatures that one climb verifies at most, whatever a pool's CAs are called.
const MAX_SIGNATURES: usize = 32;

/// Why a CA of the right name is not the issuer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainFault {
    /// It is no CA.
    #[error("`{0}` is no CA")]
    NoCa(String),
    /// Its key usage does not allow to sign certificates.
    #[error("`{0}` may not sign certificates by its key usage")]
    KeyUsage(String),
    /// More CAs stand below it than it allows.
    #[error("`{ca}` allows {allowed} CAs below it, and there are {found}")]
    PathLength {
        /// Its subject.
        ca: String,
        /// pathLenConstraint.
        allowed: u32,
        /// CAs between it and the certificate.
        found: u32,
    },
    /// It constrains names, and not to this one.
    #[error("`{0}` may not certify such a name by its name constraints")]
    Names(String),
    /// The signature does not hold.
    #[error("a certificate issued by `{ca}`: {fault}")]
    Signature {
        /// The issuer's subject.
        ca: String,
        /// Why.
        #[source]
        fault: SignatureFault,
    },
    /// More CAs bear these names than a climb looks at.
    #[error("there are too many CAs of the same names")]
    TooMany,
}

/// A certificate outside its validity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Expired {
    pub(crate) subject: String,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

/// Where a climb led.
#[derive(Default, Debug)]
pub(crate) struct Reached {
    /// Indices of the CAs that lead to the certificate, all within their validity and the certificate too.
    pub(crate) cas: Vec<usize>,
    /// The first certificate that stands outside its validity, and beyond which nothing was looked at.
    pub(crate) expired: Option<Expired>,
    /// Why the last CA of a fitting name was passed over.
    pub(crate) fault: Option<ChainFault>,
}

/// Climbs from `leaf` through `cas`, judging each at `now`.
pub(crate) fn climb(leaf: &X509Certificate<'_>, cas: &[X509Certificate<'_>], now: UnixTime) -> Reached {
    let mut climb = Climb { cas, now, signatures: 0, issued: false, reached: Reached::default() };
    let timely = climb.timely(leaf);
    climb.above(&mut vec![leaf], &mut Vec::new());
    let mut reached = climb.reached;
    if !timely {
        reached.cas.clear();
    }
    if !climb.issued {
        // Whatever its dates: nobody here issued it.
        reached.expired = None;
    }
    reached
}

struct Climb<'a, 'c> {
    cas: &'a [X509Certificate<'c>],
    now: UnixTime,
    signatures: usize,
    /// Whether any CA, timely or not, issued the leaf.
    issued: bool,
    reached: Reached,
}

impl<'a, 'c> Climb<'a, 'c> {
    /// Visits the issuers of the last of `path`, which begins with the leaf; `on_path` are the indices of its CAs.
    fn above(&mut self, path: &mut Vec<&'a X509Certificate<'c>>, on_path: &mut Vec<usize>)
    where
        'c: 'a,
    {
        let Some(below) = path.last().copied() else { return };
        if on_path.len() >= MAX_DEPTH {
            return;
        }
        for (index, ca) in self.cas.iter().enumerate() {
            let named = ca.subject().as_raw() == below.issuer().as_raw();
            // A CA that was reached is not climbed again: by which of its twins changes nothing above it.
            if !named || on_path.contains(&index) || self.reached.cas.contains(&index) {
                continue;
            }
            match self.issued(ca, path) {
                Ok(()) => self.issued = true,
                Err(fault) => {
                    self.reached.fault = Some(fault);
                    continue;
                }
            }
            if !self.timely(ca) {
                continue;
            }
            self.reached.cas.push(index);
            path.push(ca);
            on_path.push(index);
            self.above(path, on_path);
            path.pop();
            on_path.pop();
        }
    }

    /// Whether `ca` issued the last of `path`, and allows all that is below it.
    fn issued(&mut self, ca: &X509Certificate<'_>, path: &[&X509Certificate<'_>]) -> Result<(), ChainFault> {
        let name = || printable(&ca.subject().to_string());
        let Some(below) = path.last() else { return Err(ChainFault::NoCa(name())) };
        let constraints = ca.basic_constraints().ok().flatten();
        let Some(constraints) = constraints.filter(|c| c.value.ca) else {
            return Err(ChainFault::NoCa(name()));
        };
        let usage = ca.key_usage().map_err(|_| ChainFault::KeyUsage(name()))?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(ChainFault::KeyUsage(name()));
        }
        // Certificates that a CA issues to itself don't count.
        let found = path.iter().skip(1).filter(|ca| ca.subject().as_raw() != ca.issuer().as_raw()).count();
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if let Some(allowed) = constraints.value.path_len_constraint.filter(|allowed| found > *allowed) {
            return Err(ChainFault::PathLength { ca: name(), allowed, found });
        }
        if !path.iter().all(|cert| names::allow(ca, cert)) {
            return Err(ChainFault::Names(name()));
        }
        memo::once(below.as_raw(), ca.public_key().raw, || {
            self.signatures += 1;
            if self.signatures > MAX_SIGNATURES {
                return Err(ChainFault::TooMany);
            }
            signature::check(below, ca).map_err(|fault| ChainFault::Signature { ca: name(), fault })
        })
    }

    fn timely(&mut self, cert: &X509Certificate<'_>) -> bool {
        let (not_before, not_after) = validity(cert);
        if (not_before..=not_after).contains(&self.now) {
            return true;
        }
        let subject = printable(&cert.subject().to_string());
        self.reached.expired.get_or_insert(Expired { subject, not_before, not_after });
        false
    }
}
