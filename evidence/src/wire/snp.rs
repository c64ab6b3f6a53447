//! Primary evidence of the TEE `snp`: the report as numbers in JSON, as stock clients write it, from and to its bytes.

use super::snp_table::{self, SnpCertificate, SnpTableError};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes of a report.
const SIZE: usize = 1184;
/// The family from which on TCBs have Turin's order.
const TURIN_FAMILY: u8 = 0x1a;

/// Why bytes have no JSON form, or a JSON form no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnpFormError {
    /// Not the length of a report.
    #[error("{0} bytes; a report has {SIZE}")]
    Size(usize),
    /// A version that has no form here.
    #[error("report version {0}; versions 2 to 5 have a form")]
    Version(u32),
    /// Bytes are set that the form has no member for.
    #[error("bytes are set that the form has no member for")]
    Lossy,
    /// A member that this version demands is null, or one that it lacks is not.
    #[error("`{member}` does not fit report version {version}")]
    Member {
        /// Its name.
        member: &'static str,
        /// The report's version.
        version: u32,
    },
    /// A TCB has an FMC before Turin, or none from Turin on.
    #[error("`{0}.fmc` does not fit the processor")]
    Fmc(&'static str),
    /// The certificate table can't be read.
    #[error("certificate table: {0}")]
    Table(#[from] SnpTableError),
}

/// Primary evidence of the TEE `snp`; unknown members are ignored by the stock service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnpEvidence {
    /// The report.
    pub attestation_report: SnpReport,
    /// The certificates that came with it; null where there are none.
    pub cert_chain: Option<Vec<SnpCertificate>>,
}

impl SnpEvidence {
    /// What a node sends: a report of 1184 bytes, and the certificate table of `auxblob`, which may be empty.
    pub fn new(report: &[u8], table: &[u8]) -> Result<Self, SnpFormError> {
        let certificates = if table.is_empty() { Vec::new() } else { snp_table::read(table)? };
        Ok(Self {
            attestation_report: SnpReport::from_bytes(report)?,
            cert_chain: Some(certificates).filter(|all| !all.is_empty()),
        })
    }
}

/// ATTESTATION_REPORT in JSON: arrays of numbers, integers, TCBs as objects. It is a carrier; [`SnpReport::to_bytes`] gives what to judge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnpReport {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Octets<16>,
    image_id: Octets<16>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: Tcb,
    plat_info: u64,
    key_info: u32,
    report_data: Octets<64>,
    measurement: Octets<48>,
    host_data: Octets<32>,
    id_key_digest: Octets<48>,
    author_key_digest: Octets<48>,
    report_id: Octets<32>,
    report_id_ma: Octets<32>,
    reported_tcb: Tcb,
    cpuid_fam_id: Option<u8>,
    cpuid_mod_id: Option<u8>,
    cpuid_step: Option<u8>,
    chip_id: Octets<64>,
    committed_tcb: Tcb,
    current: Firmware,
    committed: Firmware,
    launch_tcb: Tcb,
    launch_mit_vector: Option<u64>,
    current_mit_vector: Option<u64>,
    signature: Signature,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Tcb {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Firmware {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Signature {
    r: Octets<72>,
    s: Octets<72>,
}

impl SnpReport {
    /// The form of 1184 bytes of report; refused where the bytes could not be got back from it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnpFormError> {
        if bytes.len() != SIZE {
            return Err(SnpFormError::Size(bytes.len()));
        }
        let report = Self::read(bytes)?;
        if report.to_bytes()? == bytes { Ok(report) } else { Err(SnpFormError::Lossy) }
    }

    fn read(bytes: &[u8]) -> Result<Self, SnpFormError> {
        let mut at = Cursor(bytes);
        let version = at.u32()?;
        if !(2..=5).contains(&version) {
            return Err(SnpFormError::Version(version));
        }
        let cpuid: [u8; 3] = Cursor(bytes).skip(0x188)?.array()?;
        let chip_id: [u8; 64] = Cursor(bytes).skip(0x1a0)?.array()?;
        let cpuid = Some(cpuid).filter(|_| version >= 3);
        let turin = cpuid.map_or_else(|| is_turin(&chip_id), |[family, ..]| family >= TURIN_FAMILY);
        let guest_svn = at.u32()?;
        let policy = at.u64()?;
        let (family_id, image_id) = (at.octets()?, at.octets()?);
        let (vmpl, sig_algo) = (at.u32()?, at.u32()?);
        let current_tcb = at.tcb(turin)?;
        let (plat_info, key_info) = (at.u64()?, at.u32()?);
        let report_data = at.skip(4)?.octets()?;
        let (measurement, host_data) = (at.octets()?, at.octets()?);
        let (id_key_digest, author_key_digest) = (at.octets()?, at.octets()?);
        let (report_id, report_id_ma) = (at.octets()?, at.octets()?);
        let reported_tcb = at.tcb(turin)?;
        let committed_tcb = at.skip(24 + 64)?.tcb(turin)?;
        let (current, committed) = (at.firmware()?, at.firmware()?);
        let launch_tcb = at.tcb(turin)?;
        let mitigations = |vector: u64| Some(vector).filter(|_| version >= 5);
        let (launch_mit_vector, current_mit_vector) = (mitigations(at.u64()?), mitigations(at.u64()?));
        let at = at.skip(152)?;
        Ok(Self {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            sig_algo,
            current_tcb,
            plat_info,
            key_info,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            report_id_ma,
            reported_tcb,
            cpuid_fam_id: cpuid.map(|[family, ..]| family),
            cpuid_mod_id: cpuid.map(|[_, model, _]| model),
            cpuid_step: cpuid.map(|[.., stepping]| stepping),
            chip_id: Octets(chip_id),
            committed_tcb,
            current,
            committed,
            launch_tcb,
            launch_mit_vector,
            current_mit_vector,
            signature: Signature { r: at.octets()?, s: at.octets()? },
        })
    }

    /// The 1184 bytes; what the form has no member for is zero.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SnpFormError> {
        let version = self.version;
        if !(2..=5).contains(&version) {
            return Err(SnpFormError::Version(version));
        }
        let fits = |member, there: bool, due: bool| {
            if there == due { Ok(()) } else { Err(SnpFormError::Member { member, version }) }
        };
        fits("cpuid_fam_id", self.cpuid_fam_id.is_some(), version >= 3)?;
        fits("cpuid_mod_id", self.cpuid_mod_id.is_some(), version >= 3)?;
        fits("cpuid_step", self.cpuid_step.is_some(), version >= 3)?;
        fits("launch_mit_vector", self.launch_mit_vector.is_some(), version >= 5)?;
        fits("current_mit_vector", self.current_mit_vector.is_some(), version >= 5)?;
        let turin = self.cpuid_fam_id.map_or(self.reported_tcb.fmc.is_some(), |f| f >= TURIN_FAMILY);
        let tcb = |name, tcb: &Tcb| tcb.bytes(turin).ok_or(SnpFormError::Fmc(name));

        let mut out = Vec::with_capacity(SIZE);
        out.extend(version.to_le_bytes());
        out.extend(self.guest_svn.to_le_bytes());
        out.extend(self.policy.to_le_bytes());
        out.extend(self.family_id.0);
        out.extend(self.image_id.0);
        out.extend(self.vmpl.to_le_bytes());
        out.extend(self.sig_algo.to_le_bytes());
        out.extend(tcb("current_tcb", &self.current_tcb)?);
        out.extend(self.plat_info.to_le_bytes());
        out.extend(self.key_info.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.report_data.0);
        out.extend(self.measurement.0);
        out.extend(self.host_data.0);
        out.extend(self.id_key_digest.0);
        out.extend(self.author_key_digest.0);
        out.extend(self.report_id.0);
        out.extend(self.report_id_ma.0);
        out.extend(tcb("reported_tcb", &self.reported_tcb)?);
        out.extend([self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step].map(Option::unwrap_or_default));
        out.extend([0; 21]);
        out.extend(self.chip_id.0);
        out.extend(tcb("committed_tcb", &self.committed_tcb)?);
        out.extend(self.current.bytes());
        out.extend(self.committed.bytes());
        out.extend(tcb("launch_tcb", &self.launch_tcb)?);
        out.extend(self.launch_mit_vector.unwrap_or_default().to_le_bytes());
        out.extend(self.current_mit_vector.unwrap_or_default().to_le_bytes());
        out.extend([0; 152]);
        out.extend(self.signature.r.0);
        out.extend(self.signature.s.0);
        out.extend([0; 368]);
        Ok(out)
    }
}

/// Version 2 does not name the processor; a Turin's id has eight bytes and then zeros.
fn is_turin(chip_id: &[u8; 64]) -> bool {
    let (id, rest) = chip_id.split_at(8);
    id.iter().any(|b| *b != 0) && rest.iter().all(|b| *b == 0)
}

impl Tcb {
    /// The eight bytes; `None` where an FMC is there before Turin, or is not from Turin on.
    fn bytes(&self, turin: bool) -> Option<[u8; 8]> {
        let Self { fmc, bootloader, tee, snp, microcode } = *self;
        match (turin, fmc) {
            (true, Some(fmc)) => Some([fmc, bootloader, tee, snp, 0, 0, 0, microcode]),
            (false, None) => Some([bootloader, tee, 0, 0, 0, 0, snp, microcode]),
            _ => None,
        }
    }
}

impl Firmware {
    fn bytes(self) -> [u8; 4] {
        [self.build, self.minor, self.major, 0]
    }
}

/// A cursor over a report's bytes.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, len: usize) -> Result<&mut Self, SnpFormError> {
        self.0 = self.0.get(len..).ok_or(SnpFormError::Size(self.0.len()))?;
        Ok(self)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnpFormError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(SnpFormError::Size(self.0.len()))?;
        self.0 = tail;
        Ok(*head)
    }

    fn octets<const N: usize>(&mut self) -> Result<Octets<N>, SnpFormError> {
        self.array().map(Octets)
    }

    fn u32(&mut self) -> Result<u32, SnpFormError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, SnpFormError> {
        self.array().map(u64::from_le_bytes)
    }

    fn tcb(&mut self, turin: bool) -> Result<Tcb, SnpFormError> {
        Ok(if turin {
            let [fmc, bootloader, tee, snp, _, _, _, microcode] = self.array()?;
            Tcb { fmc: Some(fmc), bootloader, tee, snp, microcode }
        } else {
            let [bootloader, tee, _, _, _, _, snp, microcode] = self.array()?;
            Tcb { fmc: None, bootloader, tee, snp, microcode }
        })
    }

    fn firmware(&mut self) -> Result<Firmware, SnpFormError> {
        let [build, minor, major, _] = self.array()?;
        Ok(Firmware { major, minor, build })
    }
}

/// Bytes as an array of exactly `N` numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Octets<const N: usize>([u8; N]);

impl<const N: usize> fmt::Debug for Octets<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> Serialize for Octets<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut tuple = s.serialize_tuple(N)?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for Octets<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Numbers<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Numbers<N> {
            type Value = Octets<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} numbers of 0 to 255")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Octets<N>, A::Error> {
                let mut out = [0; N];
                for (at, byte) in out.iter_mut().enumerate() {
                    *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
                }
                Ok(Octets(out))
            }
        }

        d.deserialize_tuple(N, Numbers)
    }
}

#[cfg(test)]
mod tests;
