//! The body of a TD quote: TD 1.0 (584 bytes), TD 1.5 (648) and TD 1.5 with service TD extensions (885).

use crate::{Flags, Measurement, TcbSvn};
use ccnode_evidence::Reader;
use serde::Serialize;

/// Bits of the TD's attributes (TDX Module ABI Specification, section on ATTRIBUTES).
pub mod attributes {
    /// TUD, bits 7:0: debug and profiling. With any of them the TD is not to be trusted.
    pub const UNDER_DEBUG: u64 = 0xff;
    /// The host may read and write the TD's state.
    pub const DEBUG: u64 = 1;
    /// Defence against single-stepping by instruction count.
    pub const ICSSD: u64 = 1 << 16;
    /// The report holds a hash of the extended service TD structure.
    pub const SERVTD_EXT: u64 = 1 << 17;
    /// Linear address space separation.
    pub const LASS: u64 = 1 << 27;
    /// EPT violations on pending pages don't become #VE: without it a guest can be made to run on memory taken away.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// A migration TD may move the TD.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// Supervisor protection keys.
    pub const PKS: u64 = 1 << 30;
    /// Key Locker.
    pub const KL: u64 = 1 << 31;
    /// TDX Connect provisioning agent.
    pub const TPA: u64 = 1 << 62;
    /// Performance monitoring counters.
    pub const PERFMON: u64 = 1 << 63;

    const NAMES: [(u64, &str); 10] = [
        (DEBUG, "DEBUG"),
        (ICSSD, "ICSSD"),
        (SERVTD_EXT, "SERVTD_EXT"),
        (LASS, "LASS"),
        (SEPT_VE_DISABLE, "SEPT_VE_DISABLE"),
        (MIGRATABLE, "MIGRATABLE"),
        (PKS, "PKS"),
        (KL, "KL"),
        (TPA, "TPA"),
        (PERFMON, "PERFMON"),
    ];

    /// The names of the bits that are set, "bit 20" where the bit has none.
    pub fn names(bits: u64) -> Vec<String> {
        let set = (0..u64::BITS).map(|n| (n, 1 << n)).filter(|(_, bit)| bits & bit != 0);
        let name = |(n, bit)| match NAMES.iter().find(|(known, _)| *known == bit) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("bit {n}"),
        };
        set.map(name).collect()
    }
}

/// What a TD quote says of the TD. Reachable as fact through [`crate::TdxProven::body`] alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TdBody {
    /// Security version numbers of what the TD was launched under.
    pub tee_tcb_svn: TcbSvn,
    /// Measurement of the TDX module.
    pub mr_seam: Measurement,
    /// Signer of the TDX module; zero for Intel's.
    pub mr_signer_seam: Measurement,
    /// Attributes of the TDX module; zero for a production module.
    pub seam_attributes: Flags,
    /// The TD's attributes: see [`attributes`].
    pub td_attributes: Flags,
    /// The extended features (as XCR0 and IA32_XSS) that the TD may use.
    pub xfam: Flags,
    /// Measurement of the TD's initial contents.
    pub mr_td: Measurement,
    /// What the host configured; init-data in the stock protocol.
    pub mr_config_id: Measurement,
    /// What the host says of the TD's owner.
    pub mr_owner: Measurement,
    /// What the host says of the owner's configuration.
    pub mr_owner_config: Measurement,
    /// RTMR 0 to 3.
    pub rtmr: [Measurement; 4],
    /// What the TD asked to be bound.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub report_data: [u8; 64],
    /// The members that TDX 1.5 added; `None` in a TD 1.0 body.
    pub td15: Option<Td15>,
}

/// The members of a TD 1.5 body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Td15 {
    /// Security version numbers of the module that runs now; they differ from the launch after a TD-preserving update.
    pub tee_tcb_svn2: TcbSvn,
    /// Hash over the service TDs that are bound to the TD; zero without one.
    pub mr_service_td: Measurement,
    /// The members that the extended form added.
    pub service_tds: Option<ServiceTds>,
}

/// What the extended TD 1.5 body (type 4) tells of service TDs; the rest of it is not judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceTds {
    /// Hash over the service TDs that were bound when the TD was made.
    pub init_hash: Measurement,
    /// Hash over the service TDs that are bound now.
    pub current_hash: Measurement,
}

/// The forms of a body, by the type of a version 5 quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyKind {
    Td10,
    Td15,
    Td15Ex,
}

impl BodyKind {
    pub(crate) fn from_type(body_type: u16) -> Option<Self> {
        match body_type {
            2 => Some(Self::Td10),
            3 => Some(Self::Td15),
            4 => Some(Self::Td15Ex),
            _ => None,
        }
    }

    /// Length in bytes.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Ex => 885,
        }
    }
}

impl TdBody {
    /// `None` where `bytes` are not exactly as long as the kind.
    pub(crate) fn read(kind: BodyKind, bytes: &[u8]) -> Option<Self> {
        let r = &mut Reader::new(bytes);
        let mut body = Self {
            tee_tcb_svn: svn(r)?,
            mr_seam: measurement(r)?,
            mr_signer_seam: measurement(r)?,
            seam_attributes: Flags(r.u64()?),
            td_attributes: Flags(r.u64()?),
            xfam: Flags(r.u64()?),
            mr_td: measurement(r)?,
            mr_config_id: measurement(r)?,
            mr_owner: measurement(r)?,
            mr_owner_config: measurement(r)?,
            rtmr: [measurement(r)?, measurement(r)?, measurement(r)?, measurement(r)?],
            report_data: *r.array()?,
            td15: None,
        };
        if kind != BodyKind::Td10 {
            let mut td15 = Td15 { tee_tcb_svn2: svn(r)?, mr_service_td: measurement(r)?, service_tds: None };
            if kind == BodyKind::Td15Ex {
                td15.service_tds = Some(service_tds(r)?);
            }
            body.td15 = Some(td15);
        }
        r.rest().is_empty().then_some(body)
    }
}

fn service_tds(r: &mut Reader<'_>) -> Option<ServiceTds> {
    // VM index, TD id, device information.
    r.take(1 + 32 + 48)?;
    let init_hash = measurement(r)?;
    // Attributes of the initial service TD; CPUSVN, TEE_TCB_SVN and model of the launch.
    r.take(8 + 16 + 16 + 12)?;
    let current_hash = measurement(r)?;
    // Attributes of the current service TD.
    r.take(8)?;
    Some(ServiceTds { init_hash, current_hash })
}

pub(crate) fn measurement(r: &mut Reader<'_>) -> Option<Measurement> {
    r.array().copied().map(Measurement)
}

pub(crate) fn svn(r: &mut Reader<'_>) -> Option<TcbSvn> {
    r.array().copied().map(TcbSvn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_length_and_no_other() {
        for kind in [BodyKind::Td10, BodyKind::Td15, BodyKind::Td15Ex] {
            let bytes: Vec<u8> = (0..=kind.len()).map(|i| i as u8).collect();
            assert!(TdBody::read(kind, &bytes[..kind.len()]).is_some());
            assert!(TdBody::read(kind, &bytes).is_none());
            assert!(TdBody::read(kind, &bytes[..kind.len() - 1]).is_none());
        }
    }

    #[test]
    fn extended_body_tells_of_service_tds() {
        let mut bytes = vec![0; 885];
        bytes[648 + 81] = 7;
        bytes[885 - 8 - 48] = 9;
        let body = TdBody::read(BodyKind::Td15Ex, &bytes).unwrap();
        let service = body.td15.unwrap().service_tds.unwrap();
        assert_eq!((service.init_hash.0[0], service.current_hash.0[0]), (7, 9));
    }

    #[test]
    fn bits_are_named() {
        let bits = attributes::SEPT_VE_DISABLE | attributes::PERFMON | 1 << 20;
        assert_eq!(attributes::names(bits), ["bit 20", "SEPT_VE_DISABLE", "PERFMON"]);
    }
}
