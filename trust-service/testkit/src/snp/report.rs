//! The bytes of an attestation report from its fields (SEV-SNP ABI 56860, section 7.3, ATTESTATION_REPORT).

/// Bytes that are signed.
pub const SIGNED: usize = 0x2a0;
/// Bytes of a whole report.
pub const REPORT: usize = 0x4a0;

/// A TCB by component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcb {
    /// FMC; there is none before Turin, where it is not written.
    pub fmc: u8,
    /// PSP boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// The eight bytes, in Turin's order or in that before it.
    pub fn bytes(&self, turin: bool) -> [u8; 8] {
        if turin {
            [self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode]
        } else {
            [self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode]
        }
    }
}

/// Every field of a report; a field may lie. Fields that the version lacks are not written.
#[derive(Clone, Debug)]
pub struct ReportSpec {
    /// VERSION, 2 to 5.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: u32,
    /// SIGNATURE_ALGO.
    pub signature_algo: u32,
    /// CURRENT_TCB.
    pub current_tcb: Tcb,
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY.
    pub key_info: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA; all ones without a migration agent.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB.
    pub reported_tcb: Tcb,
    /// CPUID family, model, stepping (from version 3).
    pub cpuid: [u8; 3],
    /// CHIP_ID.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: Tcb,
    /// Build, minor, major of the current firmware.
    pub current: [u8; 3],
    /// Build, minor, major of the committed firmware.
    pub committed: [u8; 3],
    /// LAUNCH_TCB.
    pub launch_tcb: Tcb,
    /// LAUNCH_MIT_VECTOR (from version 5).
    pub launch_mitigations: u64,
    /// CURRENT_MIT_VECTOR (from version 5).
    pub current_mitigations: u64,
    /// Whether TCBs are written in Turin's order.
    pub turin: bool,
}

impl ReportSpec {
    /// The report without its signature: [`REPORT`] bytes, the signature's zero.
    pub fn unsigned(&self) -> Vec<u8> {
        let mut raw = vec![0; REPORT];
        let mut put = |offset: usize, bytes: &[u8]| {
            raw.get_mut(offset..).expect("inside").iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0x00, &self.version.to_le_bytes());
        put(0x04, &self.guest_svn.to_le_bytes());
        put(0x08, &self.policy.to_le_bytes());
        put(0x10, &self.family_id);
        put(0x20, &self.image_id);
        put(0x30, &self.vmpl.to_le_bytes());
        put(0x34, &self.signature_algo.to_le_bytes());
        put(0x38, &self.current_tcb.bytes(self.turin));
        put(0x40, &self.platform_info.to_le_bytes());
        put(0x48, &self.key_info.to_le_bytes());
        put(0x50, &self.report_data);
        put(0x90, &self.measurement);
        put(0xc0, &self.host_data);
        put(0xe0, &self.id_key_digest);
        put(0x110, &self.author_key_digest);
        put(0x140, &self.report_id);
        put(0x160, &self.report_id_ma);
        put(0x180, &self.reported_tcb.bytes(self.turin));
        if self.version >= 3 {
            put(0x188, &self.cpuid);
        }
        put(0x1a0, &self.chip_id);
        put(0x1e0, &self.committed_tcb.bytes(self.turin));
        put(0x1e8, &self.current);
        put(0x1ec, &self.committed);
        put(0x1f0, &self.launch_tcb.bytes(self.turin));
        if self.version >= 5 {
            put(0x1f8, &self.launch_mitigations.to_le_bytes());
            put(0x200, &self.current_mitigations.to_le_bytes());
        }
        raw
    }
}
