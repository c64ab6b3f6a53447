//! Guests, and the two ways to their reports.

use ccnode_cvm::{ConfigFs, CvmError, ReportTree, Tsm};
use ccnode_tsm_emulator::{Emulator, Platform, Snp, Tdx, mount};
use std::io::ErrorKind;

/// The manifest of the emulated SVSM.
pub(crate) const MANIFEST: &[u8] = b"TPMT_PUBLIC of an endorsement key";
/// The certificates of the emulated host.
pub(crate) const CERTIFICATES: &[u8] = b"a certificate table";

/// An ATTESTATION_REPORT without a signature: version, VMPL and data are where they belong.
fn unsigned(data: &[u8; 64], level: u32) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 3;
    report[0x30..0x34].copy_from_slice(&level.to_le_bytes());
    report[0x50..0x90].copy_from_slice(data);
    report
}

pub(crate) fn level(report: &[u8]) -> u32 {
    u32::from_le_bytes(report[0x30..0x34].try_into().unwrap())
}

pub(crate) fn snp() -> Snp {
    Snp {
        sign: Box::new(unsigned),
        certificates: CERTIFICATES.to_vec(),
        manifest: None,
        svsm_has_certificates: false,
    }
}

pub(crate) fn svsm() -> Snp {
    Snp { manifest: Some(MANIFEST.to_vec()), ..snp() }
}

/// A quote of version 4, padded as cloud hosts do.
pub(crate) fn tdx() -> Tdx {
    let quote = |data: &[u8; 64]| {
        let mut quote = vec![0; 8000];
        quote[0] = 4;
        quote[568..632].copy_from_slice(data);
        quote
    };
    Tdx { quote: Box::new(quote) }
}

/// Tells the story of a guest on both ways to its reports; what it leaves behind is looked at after each.
pub(crate) fn each(platform: impl Fn() -> Option<Box<dyn Platform>>, story: impl Fn(&Emulator, Reports<'_>)) {
    let emulator = Emulator::on(platform());
    story(&emulator, &|| Ok(Box::new(Tsm::open(emulator.clone())?)));
    assert_eq!(emulator.entries(), [""; 0], "in memory: an entry was left behind");
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::on(platform());
    let session = match mount(emulator.clone(), folder.path()) {
        Ok(session) => session,
        // Not for every user, and not in every container; the virtual machines mount it always.
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
            return eprintln!("skipped on FUSE, which can't be mounted here: {e}");
        }
        Err(e) => panic!("mounting FUSE: {e}"),
    };
    story(&emulator, &|| Ok(Box::new(Tsm::open(ConfigFs::at(folder.path()))?)));
    assert_eq!(emulator.entries(), [""; 0], "on FUSE: an entry was left behind");
    session.umount_and_join().unwrap();
}

/// Opens the reports of the guest.
pub(crate) type Reports<'a> = &'a dyn Fn() -> Result<Box<dyn AnyTsm>, CvmError>;

/// [`Tsm`] over whichever tree.
pub(crate) trait AnyTsm: ccnode_cvm::SvsmReports {
    fn provider(&self) -> ccnode_cvm::Provider;
    fn report(&self, data: &[u8; 64]) -> Result<ccnode_cvm::Report, CvmError>;
    fn svsm(&self) -> Option<&dyn ccnode_cvm::SvsmReports>;
}

impl<T: ReportTree> AnyTsm for Tsm<T> {
    fn provider(&self) -> ccnode_cvm::Provider {
        self.provider()
    }

    fn report(&self, data: &[u8; 64]) -> Result<ccnode_cvm::Report, CvmError> {
        self.report(data)
    }

    fn svsm(&self) -> Option<&dyn ccnode_cvm::SvsmReports> {
        self.supports_svsm()
    }
}
