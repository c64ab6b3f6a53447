//! The SGX extension of a PCK certificate: which platform it is, and at which TCB (PCK Certificate Profile, section 1.3.5).

use rustls_pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::der_parser::asn1_rs::{Any, FromDer as _, Oid, Sequence, Tag};
use x509_parser::der_parser::oid;
use x509_parser::prelude::X509Certificate;

/// The extension: 1.2.840.113741.1.13.1.
const SGX: Oid<'static> = oid!(1.2.840.113741.1.13.1);
const TCB: Oid<'static> = oid!(1.2.840.113741.1.13.1.2);
const PCE_ID: Oid<'static> = oid!(1.2.840.113741.1.13.1.3);
const FMSPC: Oid<'static> = oid!(1.2.840.113741.1.13.1.4);
/// SGX components 1 to 16, then PCESVN.
const PCE_SVN: u8 = 17;

/// What is wrong about a PCK certificate's SGX extension.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PckError {
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate in DER")]
    Certificate,
    /// The extension is missing or occurs twice.
    #[error("the SGX extension (1.2.840.113741.1.13.1) is missing or there twice")]
    NoExtension,
    /// Not the DER that the profile says.
    #[error("the SGX extension is malformed at {0}")]
    Malformed(&'static str),
    /// A member is missing.
    #[error("the SGX extension has no {0}")]
    Missing(&'static str),
    /// A member is there twice.
    #[error("the SGX extension has {0} twice")]
    Twice(&'static str),
}

/// The platform that a PCK certificate is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pck {
    /// Family, model, stepping, platform and custom SKU.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub fmspc: [u8; 6],
    /// The provisioning certification enclave.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub pce_id: [u8; 2],
    /// SVNs of SGX TCB components 1 to 16.
    pub sgx_components: [u8; 16],
    /// SVN of the provisioning certification enclave.
    pub pce_svn: u16,
}

impl Pck {
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Self, PckError> {
        let (_, cert) = X509Certificate::from_der(der).map_err(|_| PckError::Certificate)?;
        let found = cert.get_extension_unique(&SGX).ok().flatten();
        Self::read_extension(found.ok_or(PckError::NoExtension)?.value)
    }

    /// Reads the extension's value: a SEQUENCE of (OID, value) pairs.
    pub(crate) fn read_extension(value: &[u8]) -> Result<Self, PckError> {
        let (mut fmspc, mut pce_id, mut tcb) = (None, None, None);
        for_each_pair(value, "its outermost SEQUENCE", |oid, value| {
            if oid == FMSPC {
                once(&mut fmspc, octets(&value, "FMSPC")?, "FMSPC")
            } else if oid == PCE_ID {
                once(&mut pce_id, octets(&value, "PCEID")?, "PCEID")
            } else if oid == TCB {
                once(&mut tcb, components(&value)?, "TCB")
            } else {
                Ok(())
            }
        })?;
        let (sgx_components, pce_svn) = tcb.ok_or(PckError::Missing("TCB"))?;
        Ok(Self {
            fmspc: fmspc.ok_or(PckError::Missing("FMSPC"))?,
            pce_id: pce_id.ok_or(PckError::Missing("PCEID"))?,
            sgx_components,
            pce_svn,
        })
    }
}

fn components(tcb: &Any<'_>) -> Result<([u8; 16], u16), PckError> {
    const WHAT: &str = "TCB";
    if tcb.tag() != Tag::Sequence {
        return Err(PckError::Malformed(WHAT));
    }
    let mut svns: [Option<u8>; 16] = [None; 16];
    let mut pce_svn = None;
    each_in(tcb.data, WHAT, |oid, value| {
        let Some(n) = last_arc(&oid) else { return Ok(()) };
        if n == PCE_SVN {
            return once(&mut pce_svn, integer(&value)?, "PCESVN");
        }
        match usize::from(n).checked_sub(1).and_then(|i| svns.get_mut(i)) {
            Some(slot) => {
                let svn = u8::try_from(integer(&value)?).map_err(|_| PckError::Malformed("a component"))?;
                once(slot, svn, "a component")
            }
            // CPUSVN: the same numbers as one string.
            None => Ok(()),
        }
    })?;
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(svns) {
        *to = from.ok_or(PckError::Missing("component"))?;
    }
    Ok((out, pce_svn.ok_or(PckError::Missing("PCESVN"))?))
}

/// The number after `TCB` in an OID below it.
fn last_arc(oid: &Oid<'_>) -> Option<u8> {
    match oid.as_bytes().strip_prefix(TCB.as_bytes())? {
        [arc @ 0..=127] => Some(*arc),
        _ => None,
    }
}

fn integer(value: &Any<'_>) -> Result<u16, PckError> {
    let number = (value.tag() == Tag::Integer).then(|| value.as_u16().ok()).flatten();
    number.ok_or(PckError::Malformed("a component's INTEGER"))
}

fn octets<const N: usize>(value: &Any<'_>, what: &'static str) -> Result<[u8; N], PckError> {
    let bytes = (value.tag() == Tag::OctetString).then(|| value.data.try_into().ok()).flatten();
    bytes.ok_or(PckError::Malformed(what))
}

fn once<T>(slot: &mut Option<T>, value: T, what: &'static str) -> Result<(), PckError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(PckError::Twice(what)),
    }
}

fn for_each_pair<'a>(
    der: &'a [u8],
    what: &'static str,
    each: impl FnMut(Oid<'a>, Any<'a>) -> Result<(), PckError>,
) -> Result<(), PckError> {
    let (rest, sequence) = Sequence::from_der(der).map_err(|_| PckError::Malformed(what))?;
    if !rest.is_empty() {
        return Err(PckError::Malformed(what));
    }
    match sequence.content {
        std::borrow::Cow::Borrowed(content) => each_in(content, what, each),
        std::borrow::Cow::Owned(_) => Err(PckError::Malformed(what)),
    }
}

fn each_in<'a>(
    mut content: &'a [u8],
    what: &'static str,
    mut each: impl FnMut(Oid<'a>, Any<'a>) -> Result<(), PckError>,
) -> Result<(), PckError> {
    let bad = || PckError::Malformed(what);
    while !content.is_empty() {
        let (rest, pair) = Any::from_der(content).map_err(|_| bad())?;
        if pair.tag() != Tag::Sequence {
            return Err(bad());
        }
        let (after, oid) = Oid::from_der(pair.data).map_err(|_| bad())?;
        let (end, value) = Any::from_der(after).map_err(|_| bad())?;
        if !end.is_empty() {
            return Err(bad());
        }
        each(oid, value)?;
        content = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_names_no_platform() {
        assert_eq!(Pck::read(&CertificateDer::from(&b"PCK"[..])), Err(PckError::Certificate));
    }
}
