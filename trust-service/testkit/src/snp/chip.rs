//! A chip with an endorsement key that anybody can read: reports, its certificates, and lies about each field of them.

use super::certs::{CaKey, CertSpec, CrlSpec, amd_extension, der_ia5, der_integer, p384_spki, pss};
use super::report::{ReportSpec, SIGNED, Tcb};
use super::table;
use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha384, Sha512};
use std::sync::{Arc, OnceLock};

/// Bits that a policy always has: reserved bit 17.
pub const POLICY_RESERVED: u64 = 1 << 17;

/// ARK, ASK, ASVK.
type Cas = (Vec<u8>, Vec<u8>, Vec<u8>);

/// A line of processors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "AMD's names")]
pub enum ChipModel {
    Milan,
    Genoa,
    Turin,
}

impl ChipModel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As certificates call the line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x01],
            Self::Turin => [0x1a, 0x02, 0x01],
        }
    }

    fn cas(self) -> &'static Cas {
        static MADE: [OnceLock<Cas>; 3] = [const { OnceLock::new() }; 3];
        let slot = MADE.get(self as usize).expect("three models");
        slot.get_or_init(|| {
            let ark = format!("ARK-{}", self.name());
            let make =
                |which, subject: &str, serial| CertSpec::ca(which, &ark, subject, serial).sign(CaKey::Ark);
            (
                make(CaKey::Ark, &ark, 0x10000),
                make(CaKey::Ask, &format!("SEV-{}", self.name()), 0x10001),
                make(CaKey::Asvk, &format!("SEV-VLEK-{}", self.name()), 0x10101),
            )
        })
    }
}

/// A chip of a test chain. Two chips of one model and seed are the same.
#[derive(Clone)]
pub struct TestChip {
    model: ChipModel,
    key: SigningKey,
    chip_id: [u8; 64],
    tcb: Tcb,
    csp: Option<String>,
    /// The honest certificate, once it was made: an RSA signature takes its time.
    certificate: Arc<OnceLock<Vec<u8>>>,
}

impl TestChip {
    /// A chip that signs with its VCEK.
    pub fn new(model: ChipModel, seed: u8) -> Self {
        let scalar = Sha384::digest([b"snp test chip", &[model as u8, seed][..]].concat());
        let mut chip_id: [u8; 64] = Sha512::digest([model as u8, seed]).into();
        if model == ChipModel::Turin {
            chip_id.iter_mut().skip(8).for_each(|b| *b = 0);
        }
        let fmc = u8::from(model == ChipModel::Turin);
        Self {
            model,
            key: SigningKey::from_slice(&scalar).expect("a scalar"),
            chip_id,
            tcb: Tcb { fmc, bootloader: 4, tee: 1, snp: 24, microcode: 219 },
            csp: None,
            certificate: Arc::default(),
        }
    }

    /// A Milan of seed 1.
    pub fn milan() -> Self {
        Self::new(ChipModel::Milan, 1)
    }

    /// A Genoa of seed 1.
    pub fn genoa() -> Self {
        Self::new(ChipModel::Genoa, 1)
    }

    /// A Turin of seed 1.
    pub fn turin() -> Self {
        Self::new(ChipModel::Turin, 1)
    }

    /// The same chip with a VLEK that this provider loaded, and its chip id masked.
    #[must_use]
    pub fn with_vlek(mut self, csp: &str) -> Self {
        let scalar = Sha384::digest([b"snp test vlek", self.chip_id.as_slice()].concat());
        self.key = SigningKey::from_slice(&scalar).expect("a scalar");
        self.csp = Some(csp.into());
        self.certificate = Arc::default();
        self
    }

    /// The same chip with another TCB, and so another certificate.
    #[must_use]
    pub fn with_tcb(mut self, tcb: Tcb) -> Self {
        self.tcb = tcb;
        self.certificate = Arc::default();
        self
    }

    /// Its line.
    pub fn model(&self) -> ChipModel {
        self.model
    }

    /// Its TCB: current, reported, committed and at launch.
    pub fn tcb(&self) -> Tcb {
        self.tcb
    }

    /// CHIP_ID; a Turin has eight bytes and then zeros.
    pub fn chip_id(&self) -> [u8; 64] {
        self.chip_id
    }

    /// The fields of an honest report of version 3 (Turin: 5).
    pub fn spec(&self, report_data: [u8; 64], vmpl: u32) -> ReportSpec {
        let turin = self.model == ChipModel::Turin;
        ReportSpec {
            version: if turin { 5 } else { 3 },
            guest_svn: 2,
            policy: POLICY_RESERVED | 1 << 16,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl,
            signature_algo: 1,
            current_tcb: self.tcb,
            platform_info: 0x25,
            key_info: if self.csp.is_some() { 1 << 2 } else { 0 },
            report_data,
            measurement: [0x11; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: Sha384::digest(self.chip_id).first_chunk().copied().expect("48 bytes"),
            report_id_ma: [0xff; 32],
            reported_tcb: self.tcb,
            cpuid: self.model.cpuid(),
            chip_id: if self.csp.is_some() { [0; 64] } else { self.chip_id },
            committed_tcb: self.tcb,
            current: [40, 55, 1],
            committed: [40, 55, 1],
            launch_tcb: self.tcb,
            launch_mitigations: 1,
            current_mitigations: 3,
            turin,
        }
    }

    /// An honest report: 1184 bytes.
    pub fn report(&self, report_data: [u8; 64], vmpl: u32) -> Vec<u8> {
        self.sign(&self.spec(report_data, vmpl))
    }

    /// An honest report of another version, 2 to 5.
    pub fn report_of(&self, version: u32, report_data: [u8; 64], vmpl: u32) -> Vec<u8> {
        self.sign(&ReportSpec { version, ..self.spec(report_data, vmpl) })
    }

    /// What an SVSM at VMPL 0 answers: REPORT_DATA = SHA-512(nonce ‖ manifest).
    pub fn svsm_report(&self, nonce: &[u8; 64], manifest: &[u8]) -> Vec<u8> {
        let data = Sha512::new().chain_update(nonce).chain_update(manifest).finalize();
        self.report(data.into(), 0)
    }

    /// A report with these fields, signed by this chip.
    pub fn sign(&self, spec: &ReportSpec) -> Vec<u8> {
        let mut raw = spec.unsigned();
        self.resign(&mut raw);
        raw
    }

    /// Signs these bytes as they are, after a change to any of them.
    pub fn resign(&self, raw: &mut [u8]) {
        let signature: Signature = self.key.sign(raw.get(..SIGNED).expect("a report"));
        let bytes = signature.to_bytes();
        let (r, s) = bytes.split_at(48);
        let area = raw.get_mut(SIGNED..).expect("a report");
        area.fill(0);
        for (offset, number) in [(0, r), (0x48, s)] {
            let place = area.get_mut(offset..).expect("a report");
            place.iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }

    /// The test ARK of this line, DER.
    pub fn ark_der(&self) -> Vec<u8> {
        self.model.cas().0.clone()
    }

    /// The ASK above a VCEK, or the ASVK above a VLEK, DER.
    pub fn ask_der(&self) -> Vec<u8> {
        let (_, ask, asvk) = self.model.cas();
        if self.csp.is_some() { asvk.clone() } else { ask.clone() }
    }

    /// The VCEK's or VLEK's certificate, DER.
    pub fn vek_der(&self) -> Vec<u8> {
        self.certificate.get_or_init(|| self.vek_with(|_| {})).clone()
    }

    /// An endorsement certificate that differs from the honest one, signed by the true ASK or ASVK.
    pub fn vek_with(&self, change: impl FnOnce(&mut CertSpec)) -> Vec<u8> {
        let mut spec = self.vek_spec();
        change(&mut spec);
        spec.sign(if self.csp.is_some() { CaKey::Asvk } else { CaKey::Ask })
    }

    /// An endorsement certificate with the honest fields, signed by the ARK: by a key that is not its issuer's.
    pub fn vek_by_ark(&self) -> Vec<u8> {
        self.vek_spec().sign(CaKey::Ark)
    }

    /// An ASK (ASVK) that differs from the honest one, signed by the true ARK.
    pub fn ask_with(&self, change: impl FnOnce(&mut CertSpec)) -> Vec<u8> {
        let (which, middle, serial) =
            if self.csp.is_some() { (CaKey::Asvk, "VLEK-", 0x10101) } else { (CaKey::Ask, "", 0x10001) };
        let subject = format!("SEV-{middle}{}", self.model.name());
        let mut spec = CertSpec::ca(which, &format!("ARK-{}", self.model.name()), &subject, serial);
        change(&mut spec);
        spec.sign(CaKey::Ark)
    }

    /// A revocation list of the ARK, good from 2025 to 2040.
    pub fn crl(&self, revoked: &[u64]) -> Vec<u8> {
        self.crl_with(revoked, |_| {})
    }

    /// A revocation list of the ARK that differs from an honest one.
    pub fn crl_with(&self, revoked: &[u64], change: impl FnOnce(&mut CrlSpec)) -> Vec<u8> {
        self.crl_spec(revoked, change).sign(CaKey::Ark)
    }

    /// A revocation list in the ARK's name that the ASK signed, unless `change` gives it another issuer.
    pub fn crl_by_ask(&self, revoked: &[u64], change: impl FnOnce(&mut CrlSpec)) -> Vec<u8> {
        self.crl_spec(revoked, change).sign(CaKey::Ask)
    }

    fn crl_spec(&self, revoked: &[u64], change: impl FnOnce(&mut CrlSpec)) -> CrlSpec {
        let issuer = format!("ARK-{}", self.model.name());
        let mut spec = CrlSpec {
            version: 1,
            algorithm: pss(),
            issuer,
            years: (2025, 2040),
            revoked: revoked.to_vec(),
            extensions: vec![],
            next_update: true,
            critical_entry: false,
        };
        change(&mut spec);
        spec
    }

    /// The certificate table that an extended report comes with: VCEK (VLEK), ASK, ARK, and padding to whole pages.
    pub fn certs_table(&self) -> Vec<u8> {
        let vek = if self.csp.is_some() { table::VLEK } else { table::VCEK };
        table::certs_table(&[
            (vek, self.vek_der()),
            (table::ASK, self.ask_der()),
            (table::ARK, self.ark_der()),
        ])
    }

    fn vek_spec(&self) -> CertSpec {
        let number = |last: u8, value: u8| amd_extension(&[3, last], &der_integer(value.into()));
        let mut extensions = vec![
            amd_extension(&[1], &der_integer(u64::from(self.model == ChipModel::Turin))),
            amd_extension(&[2], &der_ia5(&self.product_name())),
        ];
        if self.model == ChipModel::Turin {
            extensions.push(number(9, self.tcb.fmc));
        }
        extensions.extend([
            number(1, self.tcb.bootloader),
            number(2, self.tcb.tee),
            number(4, 0),
            number(5, 0),
            number(6, 0),
            number(7, 0),
            number(3, self.tcb.snp),
            number(8, self.tcb.microcode),
        ]);
        match &self.csp {
            Some(csp) => extensions.push(amd_extension(&[5], &der_ia5(csp))),
            None => {
                let len = if self.model == ChipModel::Turin { 8 } else { 64 };
                extensions.push(amd_extension(&[4], self.chip_id.get(..len).expect("64 bytes")));
            }
        }
        let (middle, subject) = if self.csp.is_some() { ("VLEK-", "SEV-VLEK") } else { ("", "SEV-VCEK") };
        CertSpec {
            version: 2,
            serial: 0,
            issuer: format!("SEV-{middle}{}", self.model.name()),
            subject: subject.into(),
            years: (2024, 2031),
            spki: p384_spki(self.key.verifying_key().to_encoded_point(false).as_bytes()),
            extensions,
            algorithm: pss(),
            outer_algorithm: None,
        }
    }

    fn product_name(&self) -> String {
        match (self.model, &self.csp) {
            (ChipModel::Milan, None) => "Milan-B0".into(),
            (model, _) => model.name().into(),
        }
    }
}
