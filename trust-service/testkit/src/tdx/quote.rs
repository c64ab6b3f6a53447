//! The fields of a TD quote, signed as the quoting enclave signs them.

use super::Platform;
use sha2::{Digest as _, Sha256, Sha384};

/// What a TDX module says of a TD; production values.
#[derive(Clone, Debug)]
pub struct TdFields {
    /// TEE_TCB_SVN: module 1.5 (version 1, minor 5) and a loader.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: u64,
    /// ATTRIBUTES: SEPT_VE_DISABLE.
    pub td_attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// TEE_TCB_SVN2, of TD 1.5 bodies.
    pub tee_tcb_svn2: [u8; 16],
    /// MRSERVICETD, of TD 1.5 bodies.
    pub mr_service_td: [u8; 48],
    /// Hash of the service TDs bound now, of extended bodies.
    pub current_service_td: [u8; 48],
}

impl Default for TdFields {
    fn default() -> Self {
        let mut svn = [0; 16];
        svn[..3].copy_from_slice(&[5, 1, 2]);
        Self {
            tee_tcb_svn: svn,
            mr_seam: [0x11; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 1 << 28,
            xfam: 0x602e7,
            mr_td: [0x22; 48],
            mr_config_id: [0x33; 48],
            mr_owner: [0x44; 48],
            mr_owner_config: [0x55; 48],
            rtmr: [[0x60; 48], [0x61; 48], [0x62; 48], [0; 48]],
            report_data: [0x77; 64],
            tee_tcb_svn2: svn,
            mr_service_td: [0; 48],
            current_service_td: [0; 48],
        }
    }
}

impl TdFields {
    /// The body of type 2 (TD 1.0), 3 (TD 1.5) or 4 (TD 1.5 extended).
    pub fn body(&self, body_type: u16) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.tee_tcb_svn);
        out.extend(self.mr_seam);
        out.extend(self.mr_signer_seam);
        for flags in [self.seam_attributes, self.td_attributes, self.xfam] {
            out.extend(flags.to_le_bytes());
        }
        for value in [self.mr_td, self.mr_config_id, self.mr_owner, self.mr_owner_config] {
            out.extend(value);
        }
        out.extend(self.rtmr.as_flattened());
        out.extend(self.report_data);
        if body_type >= 3 {
            out.extend(self.tee_tcb_svn2);
            out.extend(self.mr_service_td);
        }
        if body_type >= 4 {
            out.extend([0; 81]);
            out.extend(self.mr_service_td);
            out.extend([0; 52]);
            out.extend(self.current_service_td);
            out.extend([0; 8]);
        }
        out
    }

    /// The TDREPORT_STRUCT (1024 bytes) that a quote of these fields is made from; its MAC is zero.
    pub fn report(&self) -> Vec<u8> {
        let mut tcb_info = [
            &[0xff, 1, 0, 0, 0, 0, 0, 0][..],
            &self.tee_tcb_svn,
            &self.mr_seam,
            &self.mr_signer_seam,
            &self.seam_attributes.to_le_bytes(),
            &self.tee_tcb_svn2,
        ]
        .concat();
        tcb_info.resize(239, 0);
        let mut td_info = [
            &self.td_attributes.to_le_bytes()[..],
            &self.xfam.to_le_bytes(),
            &self.mr_td,
            &self.mr_config_id,
            &self.mr_owner,
            &self.mr_owner_config,
            self.rtmr.as_flattened(),
            &self.mr_service_td,
        ]
        .concat();
        td_info.resize(512, 0);
        let mut out = vec![0x81, 0, 0, 0];
        out.resize(32, 0);
        out.extend(Sha384::digest(&tcb_info));
        out.extend(Sha384::digest(&td_info));
        out.extend(self.report_data);
        out.resize(256, 0);
        out.extend(tcb_info);
        out.resize(512, 0);
        out.extend(td_info);
        out
    }
}

/// What the quoting enclave's report says; Intel's values.
#[derive(Clone, Debug)]
pub struct QeReport {
    /// MISCSELECT.
    pub misc_select: u32,
    /// ATTRIBUTES.
    pub attributes: [u8; 16],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// Report data; `None`: what binds the attestation key.
    pub report_data: Option<[u8; 64]>,
}

impl Default for QeReport {
    fn default() -> Self {
        let mut attributes = [0; 16];
        attributes[0] = 0x15;
        attributes[8] = 0xe7;
        let signer = "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5";
        let mr_signer = data_encoding::HEXLOWER.decode(signer.as_bytes()).expect("hexadecimal");
        Self {
            misc_select: 0,
            attributes,
            mr_signer: mr_signer.try_into().expect("32 bytes"),
            isv_prod_id: 2,
            isv_svn: 6,
            report_data: None,
        }
    }
}

impl QeReport {
    fn bytes(&self, bound: [u8; 32]) -> Vec<u8> {
        let mut out = vec![0; 16];
        out.extend(self.misc_select.to_le_bytes());
        out.extend([0; 28]);
        out.extend(self.attributes);
        out.extend([0x99; 32]);
        out.extend([0; 32]);
        out.extend(self.mr_signer);
        out.extend([0; 96]);
        out.extend(self.isv_prod_id.to_le_bytes());
        out.extend(self.isv_svn.to_le_bytes());
        out.extend([0; 60]);
        let mut data = [0; 64];
        data[..32].copy_from_slice(&bound);
        out.extend(self.report_data.unwrap_or(data));
        out
    }
}

/// A quote before it is signed.
#[derive(Clone, Debug)]
pub struct TdQuote {
    /// 4 or 5.
    pub version: u16,
    /// 2 is ECDSA P-256.
    pub key_type: u16,
    /// 0x81 is TDX.
    pub tee: u32,
    /// The quoting enclave's vendor.
    pub vendor: [u8; 16],
    /// In version 5: 2, 3 or 4.
    pub body_type: u16,
    /// The TD.
    pub td: TdFields,
    /// The quoting enclave.
    pub qe: QeReport,
    /// The quoting enclave's authentication data.
    pub auth_data: Vec<u8>,
    /// Type of the outer certification data: 6.
    pub certification_type: u16,
    /// Type of the inner certification data: 5.
    pub pck_type: u16,
    /// PEM in place of the platform's own.
    pub pck_chain: Option<String>,
    /// Bytes after the inner certification data, within the outer.
    pub inner_excess: Vec<u8>,
    /// Bytes after the certification data, within the signature data.
    pub outer_excess: Vec<u8>,
}

impl TdQuote {
    /// A good quote of version 4 with a TD 1.0 body.
    pub fn v4() -> Self {
        Self {
            version: 4,
            key_type: 2,
            tee: 0x81,
            vendor: [
                0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06,
                0x07,
            ],
            body_type: 2,
            td: TdFields::default(),
            qe: QeReport::default(),
            auth_data: (0..32).collect(),
            certification_type: 6,
            pck_type: 5,
            pck_chain: None,
            inner_excess: Vec::new(),
            outer_excess: Vec::new(),
        }
    }

    /// A good quote of version 5 with a body of type 2, 3 or 4.
    pub fn v5(body_type: u16) -> Self {
        Self { version: 5, body_type, ..Self::v4() }
    }

    /// Signed by the platform: without anything after it.
    pub fn sign(&self, platform: &Platform) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.version.to_le_bytes());
        out.extend(self.key_type.to_le_bytes());
        out.extend(self.tee.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.vendor);
        out.extend([0; 20]);
        let body = self.td.body(self.body_type);
        if self.version == 5 {
            out.extend(self.body_type.to_le_bytes());
            out.extend(len32(&body));
        }
        out.extend(body);
        let signature = platform.sign_with_attestation_key(&out);

        let key = platform.attestation_point();
        let bound = Sha256::new().chain_update(key).chain_update(&self.auth_data).finalize().into();
        let report = self.qe.bytes(bound);
        let mut qe = report.clone();
        qe.extend(platform.sign_with_pck(&report));
        qe.extend(u16::try_from(self.auth_data.len()).expect("short").to_le_bytes());
        qe.extend(&self.auth_data);
        let chain = self.pck_chain.clone().unwrap_or_else(|| platform.pck_chain() + "\0");
        qe.extend(self.pck_type.to_le_bytes());
        qe.extend(len32(chain.as_bytes()));
        qe.extend(chain.as_bytes());
        qe.extend(&self.inner_excess);

        let mut data = Vec::new();
        data.extend(signature);
        data.extend(key);
        data.extend(self.certification_type.to_le_bytes());
        data.extend(len32(&qe));
        data.extend(qe);
        data.extend(&self.outer_excess);
        out.extend(len32(&data));
        out.extend(data);
        out
    }
}

fn len32(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("short").to_le_bytes()
}
