//! Certificate revocation lists of Intel's PKI, verified before they are asked.

use crate::chain::{Checked, Facts, unix};
use crate::{ChainKind, CollateralError, CollateralItem, Dates, Rejection};
use ccnode_evidence::Sha256Digest;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// A list whose signature verifies with its issuer's key.
#[derive(Debug)]
pub(crate) struct Crl {
    list: CertRevocationList<'static>,
    issuer: Sha256Digest,
    pub(crate) dates: Dates,
}

impl Crl {
    pub(crate) fn verify(item: CollateralItem, der: &[u8], issuer: &Facts) -> Result<Self, Rejection> {
        let bad = |error| Rejection::CollateralMalformed { item, error };
        let read = CertificateRevocationList::from_der(der).ok().filter(|(rest, _)| rest.is_empty());
        let (_, crl) = read.ok_or(bad(CollateralError::Crl))?;
        // Refuses what this does not understand: delta lists, indirect lists, unknown critical extensions.
        let list = OwnedCertRevocationList::from_der(der).map_err(|e| bad(CollateralError::CrlForm(e)))?;
        let list = CertRevocationList::from(list);
        if list.issuing_distribution_point().is_some() {
            return Err(bad(CollateralError::CrlScope));
        }
        if crl.issuer().as_raw() != issuer.name {
            let (seen, wanted) = (crate::chain::printable(&crl.issuer().to_string()), issuer.subject.clone());
            return Err(Rejection::CrlIssuer { item, seen, wanted });
        }
        let signed = crl.tbs_cert_list.as_ref();
        if !issuer.signs_crls || !issuer.point.signed_der(signed, &crl.signature_value.data) {
            return Err(Rejection::CollateralSignature(item));
        }
        let next_update = crl.next_update().ok_or(bad(CollateralError::Crl))?;
        let dates = Dates { item, issued: unix(crl.last_update()), next_update: unix(next_update) };
        Ok(Self { list, issuer: issuer.key, dates })
    }

    fn lists(&self, fact: &Facts) -> bool {
        // An unreadable entry counts as one.
        !matches!(self.list.find_serial(&fact.serial), Ok(None))
    }
}

/// Looks every certificate of a checked chain up in its issuer's list; a certificate without such a list is refused.
pub(crate) fn check(kind: ChainKind, chain: &Checked, crls: &[&Crl]) -> Result<(), Rejection> {
    for (fact, issuer) in chain.with_issuers() {
        let Some(crl) = crls.iter().find(|crl| crl.issuer == issuer) else {
            return Err(Rejection::NoCrl { chain: kind, subject: fact.subject.clone() });
        };
        if crl.lists(fact) {
            let (subject, serial) = (fact.subject.clone(), hex::encode(&fact.serial));
            return Err(Rejection::Revoked { chain: kind, subject, serial });
        }
    }
    Ok(())
}
